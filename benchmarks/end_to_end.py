"""`python -m benchmarks.end_to_end`: the whole job against the bare limit of the machine, and its memory.

For each model a run (`pixlake embed`, a process as a user starts it), stopped every 20 seconds for a measurement of
the bare limit. Then two runs of the null model, one on ten times the rows of the other.
"""

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import photographs, process_tree
from benchmarks.bare_limit import BareLimit, Parts, mean
from benchmarks.machine import machine
from benchmarks.process_tree import Stops, Watched
from jobs.config.embed import EmbedConfig, load
from operators.models.runtime import Runtime

MODELS = ("null", "efficientnet-lite0", "open_clip:ViT-B-32/random-0")
STEADY_S = 150.0
"""How long a run is to last after its start-up, at the bare limit; rows follow from it. What begins late and what ends
alone takes three seconds of any run: 7 % of one of 45."""
LEAST_ROWS = 16
RARELY_S = 5.0
"""Between looks at the processes of a run whose speed counts: each takes 7 ms of a core."""
MEMORY_ROWS = 30_720
MEMORY_STEPS = 10
"""Memory is compared between a run of the null model and one of so many times its rows. Not with one of a tenth: a run
of seconds has smaller blocks, and nothing in it has yet come to its size."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One `pixlake embed`."""

    model: str
    precision: str
    rows: int
    images_per_s: float
    """Rows over the seconds from the first block handed to a ready worker to the last commit, without those for which
    it was stopped."""
    seconds: float
    startup_seconds: float
    stages: dict[str, Any]
    peak_bytes: int
    driver_bytes: int
    workers_bytes: int
    other_cores: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A run, and the bare limit in its midst."""

    run: Run
    bare: Parts
    """The mean of `looks`."""
    looks: list[Parts]
    bare_images_per_s: float
    ratio: float


class Bench:
    """One machine, one set of photographs, one folder for what is written."""

    def __init__(self, found: list[Path], folder: Path, sets: list[str], steady_s: float = STEADY_S) -> None:
        self.found, self.folder, self.sets, self.steady_s = found, folder, sets, steady_s
        self.cores = len(os.sched_getaffinity(0))
        self.runs = 0

    def compare(self, model: str) -> Comparison:
        """A run of as many rows as take `steady_s` at the bare limit."""
        config = self._config(model, "unused.parquet")
        with BareLimit(self.found, model, _precision(config), _images_per_pass(config)) as limit:
            before = limit.measure()
            looks: list[Parts] = []
            run = self.run(
                model,
                max(LEAST_ROWS, round(before.images_per_s(self.cores) * self.steady_s)),
                Stops(_in_full_swing, lambda: looks.append(limit.measure())),
            )
        # A run of a moment says nothing on its way.
        looks = looks or [before]
        bare_images_per_s = statistics.fmean(parts.images_per_s(self.cores) for parts in looks)
        return Comparison(
            run=run,
            bare=mean(looks),
            looks=looks,
            bare_images_per_s=bare_images_per_s,
            ratio=run.images_per_s / bare_images_per_s,
        )

    def run(self, model: str, rows: int, stops: Stops | None = None) -> Run:
        self.runs += 1
        manifest, table = self.folder / f"run-{self.runs}.parquet", f"{self.folder}/lake/run-{self.runs}"
        photographs.write_manifest(self.found, rows, manifest)
        command = [str(Path(sys.executable).with_name("pixlake")), "embed", str(manifest), table]
        command += ["--model", model, "--json"]
        for value in self._sets():
            command += ["--set", value]
        watched = process_tree.run(command, stops, RARELY_S if stops else process_tree.SAMPLE_S)
        report = json.loads(watched.output)
        if report["vectors"] != rows:
            raise RuntimeError(f"{report['vectors']} of {rows} rows embedded: {report['failures_by_class']}")
        return _run(model, _precision(self._config(model, str(manifest))), report, watched)

    def _sets(self) -> list[str]:
        roots = json.dumps(sorted({str(path.resolve().parent) for path in self.found}))
        # Rows are the same photographs again and again: each counts for itself.
        return ["source.id_column=id", "reuse=false", f"fetch.allowed_roots={roots}", *self.sets]

    def _config(self, model: str, source: str) -> EmbedConfig:
        base = {"source": {"uri": source}, "table": "lake/bench", "model": {"name": model}}
        return load(sets=self._sets(), base=base)


def _in_full_swing(line: str) -> bool:
    """Whether the job says that it has rows done, and more than a tenth of them to do: it will not end meanwhile."""
    found = re.match(r"([\d,]+) of ([\d,]+) done", line)
    if not found:
        return False
    done, rows = (int(number.replace(",", "")) for number in found.groups())
    return 0 < done < 0.9 * rows


def _precision(config: EmbedConfig) -> str:
    [model] = config.columns.values()
    return config.precision_of(model)


def _images_per_pass(config: EmbedConfig) -> int:
    return Runtime(batch_size=config.cluster.batch_size).images_per_pass


def _run(model: str, precision: str, report: dict[str, Any], watched: Watched) -> Run:
    seconds = report["seconds"] - watched.stopped_seconds
    return Run(
        model=model,
        precision=precision,
        rows=report["rows"],
        images_per_s=report["rows"] / seconds,
        seconds=seconds,
        startup_seconds=report["startup_seconds"],
        stages=report["stages"],
        peak_bytes=watched.peak_bytes,
        driver_bytes=watched.driver_bytes,
        workers_bytes=watched.workers_bytes,
        other_cores=watched.other_cores,
    )


def memory_steps(bench: Bench, rows: int = MEMORY_ROWS) -> tuple[Run, Run]:
    """The null model on `rows`, and on ten times as many."""
    return bench.run("null", rows), bench.run("null", rows * MEMORY_STEPS)


def line(comparison: Comparison, cores: int) -> str:
    run, bare = comparison.run, comparison.bare
    parts = "  ".join(f"{name[:-2]} {1000 * value:.2f} ms" for name, value in asdict(bare).items())
    return (
        f"{run.model} ({run.precision}), {run.rows:,} rows\n"
        f"  bare limit   {comparison.bare_images_per_s:9,.1f} images/s, the mean of {len(comparison.looks)} "
        f"measurements = {cores} cores / ({parts})\n"
        f"  end to end   {run.images_per_s:9,.1f} images/s  = {comparison.ratio:.2f} of the bare limit, "
        f"over {run.seconds:.0f} s after {run.startup_seconds:.0f} s of start-up\n"
        f"  peak memory  {_mib(run.peak_bytes)} = driver {_mib(run.driver_bytes)} + workers {_mib(run.workers_bytes)}\n"
        f"  other load   {run.other_cores:9.2f} cores, on average"
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.end_to_end", description=__doc__)
    parser.add_argument("--images", type=Path, help="folder of photographs; default: made from scikit-image's")
    parser.add_argument("--models", default=",".join(MODELS), help="comma-separated (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for `pixlake embed`")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pixlake-bench-") as name:
        folder = Path(name)
        found = photographs.find(given.images) if given.images else photographs.make(folder)
        if not found:
            parser.error(f"--images {given.images}: no {', '.join(photographs.ENDINGS)} file below it")
        figures = measure(Bench(found, folder, given.set), given.models.split(","))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))


def measure(bench: Bench, models: list[str]) -> dict[str, Any]:
    """Runs everything, prints each result as it is there, and gives all of it."""
    here = machine()
    print(f"{here['cores']} cores of {here['cpu']}, {_mib(here['memory_bytes'])}, load {here['load']:.1f} at the start")
    print(f"{len(bench.found)} photographs, repeated for as many rows as a run takes; nothing is cached between rows")
    figures: dict[str, Any] = {"machine": here, "photographs": len(bench.found), "models": {}}
    for model in models:
        comparison = bench.compare(model)
        print(line(comparison, bench.cores), flush=True)
        figures["models"][model] = asdict(comparison)
    if "null" in models:
        small, large = memory_steps(bench)
        print(
            f"null model: peak memory of {large.rows:,} rows {_mib(large.peak_bytes)}, "
            f"{large.peak_bytes / small.peak_bytes:.2f} times that of {small.rows:,} rows",
            flush=True,
        )
        figures["memory"] = {"small": asdict(small), "large": asdict(large)}
    return figures


if __name__ == "__main__":
    main()
