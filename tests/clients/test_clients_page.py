"""docs/clients.md and its runner agree: pinned versions, lines that parse and leave an answer, an outcome of all.

The lines themselves are run by `make clients`.
"""

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

from clients.clients_page import PAGE, Client, clients, stated_outcome
from clients.made_exports import Expected
from clients.run import Failed, judge

CLIENTS = clients(PAGE.read_text())


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_every_client_is_pinned_and_its_lines_parse_and_leave_an_answer(client: Client, tmp_path: Path) -> None:
    pin = "@" if client.installer == "npm" else "=="
    assert all(pin in requirement[1:] for requirement in client.requirements)
    assert client.version
    for language, code in client.blocks:
        if language == "python":
            ast.parse(code)
        elif language == "sh":
            subprocess.run(["bash", "-n", "-c", code], check=True)
        elif shutil.which("node"):
            (tmp_path / "block.mjs").write_text(code)
            subprocess.run(["node", "--check", tmp_path / "block.mjs"], check=True)
    _, last = client.blocks[-1]
    assert "ids" in last or "rows" in last


def test_every_heading_of_a_client_is_one_that_is_run() -> None:
    page = PAGE.read_text()
    headings = [line.removeprefix("### ") for line in page.splitlines() if line.startswith("### ")]
    assert [client.name for client in CLIENTS] == headings
    assert len(set(headings)) == len(headings) >= 19


def test_the_outcome_is_of_these_clients_in_these_versions() -> None:
    assert stated_outcome(PAGE.read_text()) == [(client.name, client.version) for client in CLIENTS]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"ids": ["b", "a"], "rows": 9}, r"ids \['b', 'a'\], and NumPy finds \['a', 'b'\]"),
        ({"ids": ["a", "b"], "rows": 8}, "8 rows of 9"),
        ({"ids": [], "rows": None}, "leaves neither ids nor rows"),
    ],
)
def test_a_wrong_answer_is_a_failure(found: dict[str, object], says: str) -> None:
    with pytest.raises(Failed, match=says):
        judge(found, Expected(ids=["a", "b"], rows=9))
    assert judge({"ids": ["a", "b"], "rows": 9}, Expected(ids=["a", "b"], rows=9)) == "nearest 2, 9 rows"
