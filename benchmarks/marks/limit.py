"""Marks 3, 4 and 11: runs on Ray against the bare limit of the machine, and their memory at ten times the rows."""

from dataclasses import asdict

from benchmarks.end_to_end import Bench, Comparison, memory_steps
from benchmarks.marks.marks import Outcome
from benchmarks.marks.setting import LITE, VIT, Setting

MODELS = {"3": VIT, "4a": LITE, "4b": "null"}


def measure(setting: Setting, wanted: set[str]) -> dict[str, Outcome]:
    memory = wanted & {"11a", "11b"}
    bench = Bench(setting.photographs, setting.folder, [*setting.sets, "cluster.executor=ray"])
    outcomes = {}
    for mark, model in MODELS.items():
        if mark not in wanted and not (memory and model == "null"):
            continue
        comparison = bench.compare(model, setting.sizes.limit_rows[model])
        outcomes[mark] = _against_limit(comparison)
        if memory and model == "null":
            outcomes |= _memory(bench, comparison)
    return outcomes


def _against_limit(comparison: Comparison) -> Outcome:
    run = comparison.run
    return Outcome(
        value=comparison.ratio,
        note=f"{run.images_per_s:,.1f} of {comparison.bare_images_per_s:,.1f} images/s, {run.precision}, "
        f"{run.rows:,} rows; other load {run.other_cores:.2f} cores",
        figures=asdict(comparison),
    )


def _memory(bench: Bench, comparison: Comparison) -> dict[str, Outcome]:
    run, large = comparison.run, memory_steps(bench, comparison.run)["large"]
    outcomes = {}
    for mark, name in (("11a", "peak_bytes"), ("11b", "driver_bytes")):
        small, most = getattr(run, name), large[name]
        note = f"{most / 2**20:,.0f} and {small / 2**20:,.0f} MiB at {large['rows']:,} and {run.rows:,} rows"
        outcomes[mark] = Outcome(value=most / small, note=note, figures={"large": most, "small": small})
    return outcomes
