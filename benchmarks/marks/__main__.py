"""`make bench`: every mark measured on this machine, as a table and as JSON.

Exit code 1 where a mark could not be measured; whether the marks are met, the table says.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.marks import (
    distillation,
    forward,
    kernels,
    large_table,
    limit,
    network,
    processes,
    ray_start,
    refreshes,
    waves,
    whole_jobs,
)
from benchmarks.marks.marks import MARKS, Mark, Outcome
from benchmarks.marks.setting import SMOKE, Setting, Sizes, compile_bytecode
from benchmarks.marks.table import heading, line

RESULTS = Path(__file__).parents[1] / "results"
Measure = Callable[[Setting, set[str]], dict[str, Outcome]]
GROUPS: tuple[tuple[tuple[str, ...], Measure], ...] = (
    (("1", "2a", "2b"), whole_jobs.measure),
    (("3", "4a", "4b", "11a", "11b"), limit.measure),
    (("5",), kernels.measure),
    (("6",), forward.measure),
    (("7",), processes.measure_one_photograph),
    (("8a", "8b"), processes.measure_search),
    (("9",), ray_start.measure),
    (("10",), processes.measure_demo),
    (("12a", "12b"), network.measure),
    (("13a", "13b", "13c"), large_table.measure),
    (("14",), waves.measure),
    (("15a", "15b"), refreshes.measure),
    (("16a", "16b"), distillation.measure),
)
"""Marks that are measured together, and what measures those of them that are wanted."""


@dataclass(frozen=True, kw_only=True)
class Row:
    mark: Mark
    outcome: Outcome | None
    why: str
    """Why it could not be measured."""
    seconds: float
    """That it took to measure the mark's whole group."""

    @property
    def ok(self) -> bool:
        found = self.outcome
        return found is not None and not found.faults and self.mark.met_by(found.value)


def main(given: Sequence[str] | None = None) -> int:
    asked = _arguments(given)
    compile_bytecode()
    sizes = SMOKE if asked.smoke else replace(Sizes(), table_rows=asked.table_rows)
    wanted = [mark for mark in MARKS if not asked.marks or {mark.name, mark.number} & set(asked.marks)]
    about = machine()
    print(f"{about['cores']} cores of {about['cpu']} ({' '.join(about['instructions'])}), commit {about['commit']}")
    print(heading(), flush=True)
    with tempfile.TemporaryDirectory(prefix="pixlake-marks-") as folder:
        setting = Setting(folder=Path(folder), sizes=sizes, images=asked.images, sets=tuple(asked.set))
        rows = measure(setting, wanted, lambda row: print(line(row.mark, row.outcome, row.why, row.ok), flush=True))
    path = asked.out / f"{asked.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_as_json(about, sizes, setting.sets, rows), indent=2) + "\n")
    met = sum(row.ok for row in rows)
    print(f"{met} of {len(rows)} met; written to {path}")
    return int(any(row.outcome is None for row in rows))


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.marks", description=__doc__)
    parser.add_argument("marks", nargs="*", help="numbers of marks, or parts as in `2a` (default: all)")
    parser.add_argument("--images", type=Path, help="folder of photographs; default: made from scikit-image's")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every `pixlake embed`")
    parser.add_argument("--table-rows", type=int, default=Sizes().table_rows, help="of mark 13 (default: %(default)s)")
    parser.add_argument("--name", default=f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}", help="of the result (default: now)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="(default: %(default)s)")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does every part run?")
    found = parser.parse_args(given)
    known = {name for mark in MARKS for name in (mark.name, mark.number)}
    if strange := [name for name in found.marks if name not in known]:
        parser.error(f"no mark {', '.join(strange)}; there are {', '.join(mark.name for mark in MARKS)}")
    return found


def measure(setting: Setting, wanted: Sequence[Mark], show: Callable[[Row], None]) -> list[Row]:
    """Group by group; what goes wrong in one is the outcome of its marks."""
    rows = []
    for names, measure_group in GROUPS:
        marks = [mark for mark in wanted if mark.name in names]
        if not marks:
            continue
        started, outcomes, why = time.monotonic(), dict[str, Outcome](), ""
        try:
            outcomes = measure_group(setting, {mark.name for mark in marks})
        except Exception as error:
            why = " ".join(str(error).split()) or type(error).__name__
        seconds = round(time.monotonic() - started, 1)
        for mark in marks:
            rows.append(Row(mark=mark, outcome=outcomes.get(mark.name), why=why, seconds=seconds))
            show(rows[-1])
    return rows


def _as_json(about: dict[str, Any], sizes: Sizes, sets: Sequence[str], rows: Sequence[Row]) -> dict[str, Any]:
    marks = [{**asdict(row), "ok": row.ok} for row in rows]
    return {"machine": about, "sizes": asdict(sizes), "set": list(sets), "marks": marks}


if __name__ == "__main__":
    sys.exit(main())
