"""What Prometheus reads of a night: parsed back by its own parser, with nothing of an image in a label."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobs.nights.metrics import PREFIX, check_writable, write_metrics
from jobs.nights.report import NightlyReport, NightStep
from operators.base.errors import ErrorClass, UserError

ROOT = Path(__file__).parents[3]


def a_step(name: str, status: str = "done", **given: object) -> NightStep:
    return NightStep.model_validate(
        {"name": name, "status": status, "began_at": 90.0, "seconds": 4.5, "attempts": 2, "message": "", "result": {}}
        | given
    )


def a_report(**given: object) -> NightlyReport:
    values = {
        "table": "s3://bucket/lake/photos",
        "name": "photos",
        "night": "2026-11-28",
        "status": "exceeded",
        "steps": [a_step("refresh"), a_step("drift", "exceeded")],
        "started_at": 80.0,
        "ended_at": 100.0,
        "commands": 1,
        "current_as_of": 40.0,
        "last_success_at": 50.0,
        "live_models": {"vector": "efficientnet-lite0"},
        "rows": {"new": 3, "unchanged": 1_000_000_000},
        "failures_by_class": {"corrupt": 2},
        "images_per_s": 12.5,
    }
    return NightlyReport.model_validate(values | given)


def parsed(path: Path) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """(name, labels without the table's) -> value."""
    found = {}
    for family in text_string_to_metric_families(path.read_text()):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("table") == "photos"
            found[sample.name, tuple(sorted(labels.items()))] = sample.value
    return found


def test_a_night_is_read_back_as_it_was(tmp_path: Path) -> None:
    write_metrics(a_report(), str(tmp_path / "night.prom"))
    found = {
        (name.removeprefix(PREFIX), *labels): value for (name, labels), value in parsed(tmp_path / "night.prom").items()
    }
    assert found == {
        ("rows", ("outcome", "new")): 3,
        ("rows", ("outcome", "unchanged")): 1e9,
        ("failures", ("error_class", "corrupt")): 2,
        ("step_seconds", ("step", "refresh")): 4.5,
        ("step_seconds", ("step", "drift")): 4.5,
        ("step_attempts", ("step", "refresh")): 2,
        ("step_attempts", ("step", "drift")): 2,
        ("step_ok", ("step", "refresh")): 1,
        ("step_ok", ("step", "drift")): 0,
        ("images_per_second",): 12.5,
        ("oldest_unrefreshed_change_seconds",): 60,
        ("live_model_info", ("column", "vector"), ("model", "efficientnet-lite0")): 1,
        ("last_success_timestamp_seconds",): 50,
        ("end_timestamp_seconds",): 100,
        ("exit_status",): 3,
    }


def test_what_is_not_known_is_not_there(tmp_path: Path) -> None:
    unknown = a_report(current_as_of=None, last_success_at=None, images_per_s=None, live_models={}, steps=[])
    write_metrics(unknown, str(tmp_path / "night.prom"))
    names = {name.removeprefix(PREFIX) for name, _ in parsed(tmp_path / "night.prom")}
    assert names == {"rows", "failures", "end_timestamp_seconds", "exit_status"}


def test_nothing_of_this_process_is_told(tmp_path: Path) -> None:
    write_metrics(a_report(), str(tmp_path / "night.prom"))
    assert all(name.startswith(PREFIX) for name, _ in parsed(tmp_path / "night.prom"))


def test_the_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "night.prom"
    write_metrics(a_report(), str(path))
    before = path.open()
    write_metrics(a_report(status="complete"), str(path))
    assert "exit_status{" in before.read(), "who reads it meanwhile has the whole old file"
    assert [each.name for each in tmp_path.iterdir()] == ["night.prom"]


@pytest.mark.parametrize("path", ["no/such/folder/night.prom", "."])
def test_a_place_that_cannot_be_written_is_told_at_the_start(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--metrics"):
        check_writable(path)


def test_every_metric_is_explained(tmp_path: Path) -> None:
    write_metrics(a_report(), str(tmp_path / "night.prom"))
    page = (ROOT / "docs" / "nightly.md").read_text()
    for name, labels in parsed(tmp_path / "night.prom"):
        said = ", ".join(key for key, _ in labels)
        assert f"| `{name}` | {said} |" in page, name


def test_classes_are_a_fixed_list() -> None:
    assert a_report().failures_by_class.keys() <= set(ErrorClass)
