"""`python -m benchmarks.block_grid`: the block size that `auto` takes against a hand-made grid, on each executor."""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import photographs
from benchmarks.end_to_end import Bench
from benchmarks.turns import in_turn

GRID = ("auto", "16", "64", "256")
ROWS = {"null": 16_384, "efficientnet-lite0": 3_072}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.block_grid", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--executors", default="local,ray", help="comma-separated (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    given = parser.parse_args()
    figures: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="pixlake-bench-") as name:
        folder = Path(name)
        found = photographs.make(folder)
        for executor in given.executors.split(","):
            for model, rows in ROWS.items():
                places = {size: folder / executor / model / size for size in GRID}
                sides = {
                    size: _side(Bench(found, place, _sets(executor, size)), model, rows)
                    for size, place in places.items()
                }
                rates = in_turn(sides, given.rounds)
                figures[f"{model} on {executor}"] = rates
                print(_line(f"{model} on {executor}, {rows:,} rows", rates), flush=True)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))


def _side(bench: Bench, model: str, rows: int) -> Callable[[], float]:
    bench.folder.mkdir(parents=True)
    return lambda: bench.run(model, rows).images_per_s


def _sets(executor: str, size: str) -> list[str]:
    return [f"cluster.executor={executor}", f"cluster.block_rows={size}"]


def _line(name: str, rates: dict[str, list[float]]) -> str:
    best = {size: max(each) for size, each in rates.items()}
    told = ", ".join(f"{size}: {rate:,.1f}" for size, rate in best.items())
    return f"{name}: auto {best['auto'] / max(best.values()):.2f} of the best; images/s by rows a block: {told}"


if __name__ == "__main__":
    main()
