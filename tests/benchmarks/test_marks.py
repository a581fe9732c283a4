"""Every mark has one that measures it; the parts that take seconds are run, tiny. `-m slow` runs all of them."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import lance
import numpy as np
import pytest
import torch

from benchmarks import refresh_diff
from benchmarks.finished_table import finished_job
from benchmarks.marks import forward, kernels
from benchmarks.marks.__main__ import GROUPS, main, measure
from benchmarks.marks.marks import MARKS, Mark, Outcome
from benchmarks.marks.setting import SMOKE, Setting
from benchmarks.marks.table import heading, line
from benchmarks.marks.whole_jobs import lowest_cosine
from benchmarks.photo_server import serving
from benchmarks.photographs import make
from benchmarks.turns import FailedProcess, in_turn, ratio, timed
from end_to_end.command import pixlake_here

ROOT = Path(__file__).parents[2]
AT_MOST = Mark(name="7", what="a thing", wanted=1.3)
AT_LEAST = Mark(name="12a", what="a thing", wanted=0.95, bound=">=")


def test_each_mark_is_measured_by_one_group() -> None:
    assert sorted(name for names, _ in GROUPS for name in names) == sorted(mark.name for mark in MARKS)
    assert {mark.number for mark in MARKS} == {str(number) for number in range(1, 17)}


def test_a_mark_is_met_on_its_own_side() -> None:
    assert AT_MOST.met_by(1.3)
    assert not AT_MOST.met_by(1.31)
    assert AT_LEAST.met_by(0.95)
    assert not AT_LEAST.met_by(0.94)


def test_a_line_says_what_was_wanted_and_measured_and_why_it_is_not_met() -> None:
    found = line(AT_MOST, Outcome(value=1.2, median=1.25, note="2 and 1 s", faults=("cosine 0.9",)), "", False)
    first, second = found.splitlines()
    assert first.split() == ["7", "a", "thing", "<=", "1.3", "1.20", "(1.25)", "no"]
    assert second.strip() == "2 and 1 s; cosine 0.9"
    assert len(heading()) == len(first) + len("ok") - len("no")
    assert "could not be measured: no network" in line(AT_LEAST, None, "no network", False)


def test_what_cannot_be_measured_is_a_row_that_says_why_and_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["7", "--smoke", "--images", str(empty), "--out", str(tmp_path), "--name", "none"]) == 1
    assert f"could not be measured: --images {empty}" in capsys.readouterr().out
    [mark] = json.loads((tmp_path / "none.json").read_text())["marks"]
    assert mark["outcome"] is None
    assert mark["why"]
    with pytest.raises(SystemExit):
        main(["99"])


def test_other_marks_than_the_wanted_are_not_measured(tmp_path: Path) -> None:
    setting = Setting(folder=tmp_path, sizes=SMOKE)
    shown: list[str] = []
    assert measure(setting, [], lambda row: shown.append(row.mark.name)) == []
    assert not shown
    assert not list(tmp_path.iterdir())


@pytest.fixture
def _threads() -> Iterator[None]:
    """What is measured in one thread leaves this process as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
def test_kernels_are_compared(tmp_path: Path) -> None:
    paths = [str(path) for path in make(tmp_path, 2)]
    of_kernels = kernels.answer({"paths": paths, "rounds": 2})
    assert {len(each) for each in of_kernels["seconds"].values()} == {2}
    assert of_kernels["lowest_db"] is None or of_kernels["lowest_db"] >= kernels.LOWEST_DB


@pytest.mark.slow
@pytest.mark.usefixtures("_threads")
def test_forward_passes_are_compared(tmp_path: Path) -> None:
    """That their vectors agree, `tests/operators/models/backends` holds too."""
    paths = [str(path) for path in make(tmp_path, 2)]
    of_forward = forward.answer({"paths": paths, "rounds": 1, "sets": ["decode.isolate=false"]})
    assert of_forward["lowest_cosine"] >= forward.LOWEST_COSINE


def test_a_finished_table_is_one_that_the_same_job_leaves_alone(tmp_path: Path) -> None:
    job = finished_job(tmp_path, 500)
    before = lance.dataset(f"{job.table}.lance").version
    again = pixlake_here("embed", *job.arguments, "--json").json
    assert (again["status"], again["vectors"], again["failures"], again["embedded_now"]) == ("complete", 500, 0, 0)
    assert lance.dataset(f"{job.table}.lance").version == before
    found = pixlake_here("search", job.table, "--id", "17", "-k", "1", "--json").json
    assert found["results"][0]["id"] == "17"
    assert pixlake_here("describe", job.table, "--json").code == 0


@pytest.mark.parametrize("kind", ["manifest", "listing"])
def test_a_table_that_is_as_its_source_is_found_so(tmp_path: Path, kind: str) -> None:
    found = refresh_diff.measure(refresh_diff.make(tmp_path, 300), 300, kind)
    assert found["peak_mb"] >= found["before_mb"] > 0


def test_the_server_is_late_and_unavailable_as_asked(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"bytes")
    with serving(tmp_path, delay_s=0.1, unavailable_every=3) as url:
        started, codes = time.monotonic(), []
        for row in range(6):
            try:
                with urllib.request.urlopen(f"{url}/a.jpg?row={row}", timeout=10) as answer:
                    codes.append(answer.status)
                    assert answer.read() == b"bytes"
            except urllib.error.HTTPError as error:
                codes.append(error.code)
        assert time.monotonic() - started >= 0.6
    assert codes == [200, 200, 503] * 2


def test_sides_take_turns_and_the_best_is_compared() -> None:
    asked: list[str] = []

    def side(name: str) -> float:
        asked.append(name)
        return float(len(asked))

    found = in_turn({"a": lambda: side("a"), "b": lambda: side("b")}, 3)
    assert asked == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [1, 4, 5], "b": [2, 3, 6]}
    assert ratio([1, 4, 9], [2, 8, 9]).best == 0.5
    assert ratio([1, 4, 9], [2, 8, 9]).median == 0.5
    assert ratio([1, 4, 9], [2, 8, 3], best=max).best == 9 / 8


def test_a_process_is_timed_and_one_that_fails_says_why() -> None:
    spent = timed([sys.executable, "-c", "import time; time.sleep(0.2); print('done')"])
    assert spent.output == "done\n"
    assert spent.seconds >= 0.2
    assert 0 < spent.cpu_seconds < spent.seconds
    with pytest.raises(FailedProcess, match="boom"):
        timed([sys.executable, "-c", "raise SystemExit('boom')"])


def test_vectors_of_other_images_are_seen_to_differ() -> None:
    random = np.random.default_rng(0)
    near = {str(i): (1 + 0.01 * random.normal(size=8)).astype("f4") for i in range(4)}
    assert lowest_cosine(near, dict(near)) == pytest.approx(1)
    assert lowest_cosine(near, dict(zip(near, reversed(near.values()), strict=True))) < 0.9
    with pytest.raises(ValueError, match="3 in both"):
        lowest_cosine(near, {key: near[key] for key in ("0", "1", "2")})


@pytest.mark.parametrize(
    "name",
    [
        *("bare_limit", "end_to_end", "index_build", "ledger_read", "pixel_parity", "refresh_diff", "shared_decode"),
        "weights_hash",
    ],
)
def test_each_benchmark_is_there_to_start(name: str) -> None:
    assert callable(import_module(f"benchmarks.{name}").main)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_of_it_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.marks", "--smoke", "--out", str(tmp_path), "--name", "all"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        # Not the tests' own cache: in the user's, uv has what Daft's environment is made of.
        env={name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((tmp_path / "all.json").read_text())
    assert [mark["mark"]["name"] for mark in written["marks"]] == [name for names, _ in GROUPS for name in names]
    assert {"cpu", "instructions", "cores", "memory_bytes", "python", "libraries", "commit"} <= written[
        "machine"
    ].keys()
