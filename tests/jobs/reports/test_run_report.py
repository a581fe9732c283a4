"""The report as it is stored, and the summary a person reads."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.embed import run
from jobs.reports.run_report import Report, summary
from made.table import Made


def test_the_report_counts_what_happened(made: Made) -> None:
    report = made.report
    assert (report.status, report.rows, report.vectors, report.failures) == ("complete", 7, 5, 2)
    assert (report.embedded_now, report.failed_now, report.skipped) == (5, 2, 0)
    assert report.failures_by_class == {"not_found": 1, "unsupported_format": 1}
    assert report.image_bytes == sum(path.stat().st_size for path in made.folder.glob("*.png"))
    assert report.requests_per_image == 1
    assert report.commits >= 2
    assert set(report.stages["embed"].seconds) == {"fetch", "decode", "embed", "normalize"}
    assert 0 < report.stages["embed"].busy_share <= 1
    assert report.images_per_s == pytest.approx(7 / report.seconds)
    assert report.bound_by in ("network", "decode", "model", "write")


def test_it_is_stored_beside_the_table_with_the_resolved_configuration(made: Made) -> None:
    path = Path(f"{made.table}__runs") / made.report.run_id / "report.json"
    stored = json.loads(path.read_text())
    assert Report.model_validate(stored) == made.report
    assert stored["config"]["cluster"]["executor"] == "local"
    assert stored["config"]["fetch"]["max_attempts"] == 5


def test_the_same_job_again_has_nothing_to_do(made: Made) -> None:
    before = sorted(Path(f"{made.table}__runs").iterdir())
    again = run(made.config)
    assert again.nothing_to_do
    assert summary(again).splitlines() == [
        f"{made.table}: nothing to do, complete with 5 vectors and 2 failures",
        f"  failures: pixlake failures {made.table} says why, --retry-failed takes them again",
    ]
    assert sorted(Path(f"{made.table}__runs").iterdir()) == before


def changed(made: Made, **values: Any) -> Report:
    return made.report.model_copy(update=values)


def test_the_summary_of_a_run(made: Made) -> None:
    stages = {name: stage.model_copy(update={"load_seconds": 0.1}) for name, stage in made.report.stages.items()}
    values = {"seconds": 2.0, "startup_seconds": 1.5, "images_per_s": 3.5, "bound_by": "decode", "skipped": 1200}
    report = changed(made, **values, stages=stages)
    assert summary(report).splitlines() == [
        f"{made.table}: complete, 5 vectors and 2 failures, 1,200 skipped of 7 rows",
        "  this run: 5 vectors and 2 failures in 2.0 s after 1.5 s of start-up, 3.5 images/s, bound by decode",
        f"  failures: not_found 1, unsupported_format 1 (pixlake failures {made.table})",
    ]


def test_loading_is_told_where_it_takes_over_a_second(made: Made) -> None:
    stage = made.report.stages["embed"]
    assert 0 < stage.load_seconds < 300
    slow, fast = (stage.model_copy(update={"load_seconds": seconds}) for seconds in (12.34, 0.9))
    assert "  loading, of the start-up: b 12.3 s in each actor" in summary(
        changed(made, stages={"a": fast, "b": slow})
    ).split("\n")
    assert "loading" not in summary(changed(made, stages={"a": fast}))


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_the_summary_of_a_run_that_did_not_end_says_how_to_go_on(made: Made, status: str) -> None:
    text = summary(changed(made, status=status, message="run the same command again"))
    assert text.startswith(f"{made.table}: {status}, ")
    assert text.endswith("\n  run the same command again")
