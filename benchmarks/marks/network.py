"""Mark 12: the same photographs over HTTP, at once and from a distant store: 150 ms a GET, and 1 % of answers 503."""

import json
from collections.abc import Sequence
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.marks.marks import Outcome
from benchmarks.marks.setting import LITE, Setting
from benchmarks.photo_server import serving
from benchmarks.turns import in_turn, ratio

DELAY_S = 0.15
UNAVAILABLE_EVERY = 100
"""Every so manieth request is answered 503."""
LOOPBACK = "fetch.allowed_cidrs=[127.0.0.0/8]"


def measure(setting: Setting, wanted: set[str]) -> dict[str, Outcome]:
    servers = {"at once": (0.0, 0), "12a": (DELAY_S, 0), "12b": (DELAY_S, UNAVAILABLE_EVERY)}
    numbers = count()
    sides = {
        side: partial(_run, setting, numbers, *settings)
        for side, settings in servers.items()
        if side == "at once" or side in wanted
    }
    runs = in_turn(sides, setting.sizes.rounds)
    rates = {side: [each["images_per_s"] for each in of_side] for side, of_side in runs.items()}
    outcomes = {}
    for mark in wanted:
        found = ratio(rates[mark], rates["at once"], best=max)
        asked = max(each["requests_per_image"] for each in runs[mark])
        shown = f"{max(rates[mark]):.1f} of {max(rates['at once']):.1f} images/s"
        outcomes[mark] = Outcome(
            value=found.best,
            median=found.median,
            note=f"{shown}, {LITE}, {setting.sizes.network_rows:,} rows; {asked:.3f} requests an image",
            faults=_lost(runs[mark]),
            figures={"images_per_s": rates, "requests_per_image": asked},
        )
    return outcomes


def _run(setting: Setting, numbers: "count[int]", delay_s: float, unavailable_every: int) -> dict[str, Any]:
    """The job's report."""
    name = f"fetched-{next(numbers)}"
    manifest = setting.folder / f"{name}.parquet"
    with serving(setting.jpegs, delay_s=delay_s, unavailable_every=unavailable_every) as url:
        names = sorted(path.name for path in setting.jpegs.iterdir())
        _write_manifest(url, names, setting.sizes.network_rows, manifest)
        report: dict[str, Any] = json.loads(setting.embed(manifest, name, LITE, "source.id_column=id", LOOPBACK).output)
    return report


def _write_manifest(url: str, names: Sequence[str], rows: int, path: Path) -> None:
    uris = [f"{url}/{name}?row={row}" for row, name in enumerate(islice(cycle(names), rows))]
    pq.write_table(pa.table({"uri": uris, "id": [str(row) for row in range(rows)]}), path)


def _lost(reports: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    failed = sum(report["failures"] for report in reports)
    return (f"{failed} rows failed",) if failed else ()
