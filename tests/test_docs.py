"""The pages for users name every class of failure, verb, option, model and field of a report; links lead somewhere."""

import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
import typer.main

from jobs.cli import app, fill_retry_class
from jobs.config.model_names import conf_models
from jobs.reports.run_report import Report
from operators.base.errors import ErrorClass
from pipelines.audit.faults import FaultKind

ROOT = Path(__file__).parents[1]
PAGES = "\n".join(
    path.read_text() for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
)
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
OPTIONS = sorted(
    {(verb, option) for verb, command in COMMANDS.items() for each in command.params for option in each.opts}
)


@pytest.mark.parametrize("name", ErrorClass)
def test_every_class_of_failure_is_explained(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "failures.md").read_text()


@pytest.mark.parametrize("kind", get_args(FaultKind))
def test_every_kind_of_fault_is_explained(kind: str) -> None:
    first_cells = re.findall(r"^\|([^|]*)\|", (ROOT / "docs" / "audit.md").read_text(), re.MULTILINE)
    assert any(f"`{kind}`" in cell for cell in first_cells)


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_is_shown(verb: str) -> None:
    assert f"pixlake {verb}" in PAGES


@pytest.mark.parametrize(("verb", "option"), [each for each in OPTIONS if each[1].startswith("-")])
def test_every_option_is_in_its_verbs_row(verb: str, option: str) -> None:
    [row] = re.findall(rf"^\| `pixlake {verb}\b.*", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", row)


@pytest.mark.parametrize("line", sorted(set(re.findall(r"^pixlake (?=\w).*", PAGES, re.MULTILINE))))
def test_every_command_that_is_shown_is_understood(line: str) -> None:
    verb, *arguments = shlex.split(line, comments=True)[1:]
    COMMANDS[verb].make_context(verb, fill_retry_class(arguments))


@pytest.mark.parametrize("field", Report.model_fields)
def test_every_field_of_a_report_is_explained(field: str) -> None:
    first_cells = re.findall(r"^\|([^|]*)\|", (ROOT / "docs" / "reports.md").read_text(), re.MULTILINE)
    assert any(f"`{field}`" in cell for cell in first_cells)


@pytest.mark.parametrize("name", conf_models())
def test_every_short_name_of_a_model_is_shown(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "models.md").read_text()


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda p: p.name
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


GUARANTEES = (ROOT / "docs" / "guarantees.md").read_text()
FAULTS = [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\| R\d.*", GUARANTEES, re.MULTILINE)]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/]+\.py::\w+)`", GUARANTEES))))
def test_every_test_that_a_guarantee_rests_on_is_there(name: str) -> None:
    place, _, function = name.partition("::")
    assert re.search(rf"^(async )?def {function}\(", (ROOT / "tests" / place).read_text(), re.MULTILINE)


def test_each_fault_is_there_once_in_a_known_state_with_its_tests() -> None:
    assert [row[0] for row in FAULTS] == [f"R{number}" for number in range(1, 41)]
    for number, _, _, state, tests in FAULTS:
        word, _, lacking = state.partition(":")
        assert word in ("**holds**", "**in part**", "**not there**"), number
        assert bool(lacking) == (word == "**in part**"), number
        assert ("::" in tests) == (word != "**not there**"), number


def test_each_promise_names_a_test() -> None:
    promised = GUARANTEES.partition("## What is not promised")[0]
    rows = [row for row in re.findall(r"^\|.*", promised, re.MULTILINE) if not re.match(r"\| (promise|---)", row)]
    assert rows
    assert [row for row in rows if "::" not in row] == []


PATH = re.compile(r"`((?:[\w-]+/)+(?:[\w-]+\.(?:py|yaml|sh))?)`")
MADE_BY_THE_READER = {
    *("operators/models/torchvision/family.py", "conf/models/torchvision-resnet50.yaml"),
    *("demo/", "NAME__runs/"),
}
PLACES = (ROOT, ROOT / "pipelines", ROOT / "docs")
"""Where a path that is named begins."""
FOR_CONTRIBUTORS = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/exactly-once.md",
    "docs/adding-a-family.md",
    "docs/api-models.md",
)


@pytest.mark.parametrize("page", FOR_CONTRIBUTORS)
def test_paths_that_are_named_are_there(page: str) -> None:
    """Decisions are left as they were written."""
    named = {path for path in PATH.findall((ROOT / page).read_text()) if "VERB" not in path} - MADE_BY_THE_READER
    assert [path for path in sorted(named) if not any((place / path).exists() for place in PLACES)] == []
