"""Mark 13: what a finished job of 1,000,000 rows costs when it is run again, searched by id, and described."""

import json
from functools import partial
from typing import Any

from benchmarks.finished_table import finished_job
from benchmarks.marks.marks import Outcome
from benchmarks.marks.setting import PIXLAKE, Setting, seconds_of
from benchmarks.turns import in_turn, timed


def measure(setting: Setting, wanted: set[str]) -> dict[str, Outcome]:
    rows = setting.sizes.table_rows
    job = finished_job(setting.folder, rows)
    commands = {
        "13a": [PIXLAKE, "embed", *job.arguments, "--json"],
        "13b": [PIXLAKE, "search", job.table, "--id", str(rows // 2), "--json"],
        "13c": [PIXLAKE, "describe", job.table, "--json"],
    }
    runs = in_turn({mark: partial(timed, commands[mark]) for mark in sorted(wanted)}, setting.sizes.short_rounds)
    outcomes = {}
    for mark, of_mark in runs.items():
        seconds = sorted(each.seconds for each in of_mark)
        outcomes[mark] = Outcome(
            value=seconds[0],
            median=seconds[len(seconds) // 2],
            note=f"{rows:,} rows",
            faults=_fetched(json.loads(of_mark[-1].output), rows) if mark == "13a" else (),
            figures=seconds_of(of_mark),
        )
    return outcomes


def _fetched(report: dict[str, Any], rows: int) -> tuple[str, ...]:
    """Its images are nowhere: one that was asked for would be a failure."""
    if report["status"] == "complete" and report["vectors"] == rows and not report["failures"]:
        return ()
    return (f"{report['status']}: {report['vectors']} vectors, {report['failures']} failures of {rows} rows",)
