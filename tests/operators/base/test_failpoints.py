"""Failpoints: what switches them on, what each action does, and that the list of places is the code's."""

import ast
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from operators.base.errors import UserError
from operators.base.failpoints import ACTIONS, ON, ONCE, PLACES, Failpoint, failpoint, read_failpoints, switch_on

ROOT = Path(__file__).parents[3]


def places_in_code() -> Counter[str]:
    """Place -> in how many lines of ours `failpoint` is called with it."""
    found: Counter[str] = Counter()
    for package in ("operators", "pipelines", "jobs"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "failpoint":
                    [name] = node.args
                    assert isinstance(name, ast.Constant), f"{path}: a place is a name that can be looked for"
                    found[name.value] += 1
    return found


def test_every_place_on_the_list_is_in_the_code_and_none_is_off_it() -> None:
    assert set(places_in_code()) == set(PLACES)


def test_every_place_is_on_the_page() -> None:
    page = (ROOT / "docs" / "chaos.md").read_text()
    assert [place for place in PLACES if f"`{place}`" not in page] == []


def test_a_text_is_read() -> None:
    read = read_failpoints("commit.vectors=kill@3; fetch.after=wait:0.5;decode.row=raise;")
    assert read == (
        Failpoint(place="commit.vectors", action="kill", at=3),
        Failpoint(place="fetch.after", action="wait", seconds=0.5),
        Failpoint(place="decode.row", action="raise"),
    )


@pytest.mark.parametrize(
    "text",
    [
        *("commit.vector=kill", "commit.vectors", "commit.vectors=die", "fetch.after=wait", "fetch.after=kill:1"),
        *("fetch.after=wait:-1", "fetch.after=wait:soon", "fetch.after=kill@0", "fetch.after=kill@first", "=kill"),
        "fetch.after=kill;fetch.after=raise",
    ],
)
def test_a_typo_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(UserError, match=ON):
        read_failpoints(text)


def test_a_place_acts_the_nth_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "fetch.after=raise@3")
    failpoint("fetch.after")
    failpoint("fetch.before")
    failpoint("fetch.after")
    with pytest.raises(OSError, match=r"failpoint fetch\.after"):
        failpoint("fetch.after")
    failpoint("fetch.after")


def test_with_a_folder_a_place_acts_once_over_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ONCE, str(tmp_path))
    on(monkeypatch, "fetch.after=kill;write.before=wait:0.2")
    assert [ended(), ended()] == [-signal.SIGKILL, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["fetch.after"]
    began = time.monotonic()
    failpoint("write.before")
    failpoint("write.before")
    assert 0.2 <= time.monotonic() - began < 0.4


def test_off_is_off_and_on_says_so(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    on(monkeypatch, "")
    for place in PLACES:
        failpoint(place)
    assert capfd.readouterr().err == ""
    on(monkeypatch, "fetch.after=raise")
    assert "fail on purpose" in capfd.readouterr().err


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ONCE, str(tmp_path / "none"))
    with pytest.raises(UserError, match=ONCE):
        on(monkeypatch, "fetch.after=kill")


def test_all_actions_are_told() -> None:
    with pytest.raises(UserError) as error:
        read_failpoints("fetch.after=die")
    assert all(f"PLACE={action}" in str(error.value) for action in ACTIONS)


def ended() -> int:
    """The exit status of a process that comes to `fetch.after`."""
    script = "from operators.base.failpoints import failpoint\nfailpoint('fetch.after')"
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True).returncode


def on(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(ON, text)
    switch_on()


@pytest.fixture(autouse=True)
def _off_again() -> object:
    with pytest.MonkeyPatch.context() as patch:
        yield
        patch.delenv(ON, raising=False)
        patch.delenv(ONCE, raising=False)
        switch_on()
