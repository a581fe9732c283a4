"""Marks 3, 4 and 11: runs on Ray against the bare limit of the machine, and their memory at ten times the rows."""

from dataclasses import asdict

from benchmarks.end_to_end import Bench, Comparison, memory_steps
from benchmarks.marks.marks import Outcome
from benchmarks.marks.setting import LITE, VIT, Setting

MODELS = {"3": VIT, "4a": LITE, "4b": "null"}


def measure(setting: Setting, wanted: set[str]) -> dict[str, Outcome]:
    sizes = setting.sizes
    sets = [*setting.sets, "cluster.executor=ray"]
    bench = Bench(setting.photographs, setting.folder, sets, sizes.limit_seconds)
    outcomes = {mark: _against_limit(bench.compare(model)) for mark, model in MODELS.items() if mark in wanted}
    return outcomes | (_memory(bench, sizes.memory_rows) if wanted & {"11a", "11b"} else {})


def _against_limit(comparison: Comparison) -> Outcome:
    run = comparison.run
    return Outcome(
        value=comparison.ratio,
        note=f"{run.images_per_s:,.1f} of {comparison.bare_images_per_s:,.1f} images/s, {run.precision}, "
        f"{run.rows:,} rows; other load {run.other_cores:.2f} cores",
        figures=asdict(comparison),
    )


def _memory(bench: Bench, rows: int) -> dict[str, Outcome]:
    small, large = memory_steps(bench, rows)
    outcomes = {}
    for mark, name in (("11a", "peak_bytes"), ("11b", "driver_bytes")):
        most, least = getattr(large, name), getattr(small, name)
        note = f"{most / 2**20:,.0f} and {least / 2**20:,.0f} MiB at {large.rows:,} and {small.rows:,} rows"
        outcomes[mark] = Outcome(value=most / least, note=note, figures={"large": most, "small": least})
    return outcomes
