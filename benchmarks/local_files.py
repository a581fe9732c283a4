"""`python -m benchmarks.local_files [--rounds N]`: CPU and clock of fetching a block of local files that are at hand,
in pieces of memory that are used again and each in its own, read by the thread that asks and by four."""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from benchmarks import photographs
from operators.base.arrays import binary_views
from operators.base.columns import ERROR_FIELDS, IMAGE_BYTES
from operators.base.process_settings import keep_freed
from operators.fetch import FetchConfig
from operators.fetching import files

ROWS = 2048
BLOCKS = 4
SIDES = {"as it is": (False, False), "memory of their own": (True, False), "four threads": (False, True)}
"""Name -> whether each file has memory of its own, and whether four threads read from the start."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.local_files", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--images", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        _side(given.side, photographs.find(given.images))
        return
    with tempfile.TemporaryDirectory(prefix="pixlake-bench-") as folder:
        made = photographs.make(Path(folder))
        print(f"{len(made)} photographs, {sum(p.stat().st_size for p in made) / len(made) / 1000:.0f} KB on average")
        for _ in range(given.rounds):
            for side in SIDES:
                command = [sys.executable, "-m", "benchmarks.local_files", "--images", folder, "--side", side]
                subprocess.run(command, check=True)


def _side(side: str, found: Sequence[Path]) -> None:
    keep_freed()
    alone, all_help = SIDES[side]
    if alone:
        files.ALONE_BYTES = -1
    if all_help:
        files._GRACE_S = files._SLOW_S = -1.0
    operator = FetchConfig(allowed_roots=(str(found[0].resolve().parent),)).build()
    block = pa.table(
        {
            "uri": [str(found[row % len(found)].resolve()) for row in range(ROWS)],
            **{field.name: pa.nulls(ROWS, field.type) for field in ERROR_FIELDS},
        }
    )
    for _ in range(2):
        binary_views(operator(block)[IMAGE_BYTES.name])
    before, started = _cpu_seconds(), time.perf_counter()
    for _ in range(BLOCKS):
        binary_views(operator(block)[IMAGE_BYTES.name])
    seconds, cpu_s = time.perf_counter() - started, _cpu_seconds() - before
    scale = 1e6 / ROWS / BLOCKS
    print(f"{side:28} {cpu_s * scale:6.1f} us of CPU a file, {seconds * scale:6.1f} by the clock", flush=True)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
