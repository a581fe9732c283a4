"""A job of many rows whose images and model cost nothing: what the driver itself takes, in time and memory.

Half of it, a stop, and the rest by another process, each with the memory of the process as the rows are committed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

from benchmarks.finished_table import made_up_job, made_up_run
from jobs.embedding.progress import RunProgress
from jobs.session.interrupts import Interrupts


class Watched(RunProgress):
    """Notes memory as rows are committed, and stops the run at a number of them."""

    def __init__(self, stop_at: int, interrupts: Interrupts, trace: bool) -> None:
        super().__init__()
        self.started = time.perf_counter()
        self.samples: list[tuple[float, int, float]] = []
        """(seconds since the start, rows committed, MiB of the process)."""
        self._stop_at, self._interrupts, self._trace = stop_at, interrupts, trace
        self._early: Any = None

    def tick(self) -> None:
        super().tick()
        rows = self.tally.published_rows
        if self.samples and rows == self.samples[-1][1]:
            return
        self.samples.append((time.perf_counter() - self.started, rows, resident_mib()))
        if rows >= self._stop_at:
            self._interrupts.stop.set()
        if self._trace and rows:
            self._early = self._early or tracemalloc.take_snapshot()

    def grown(self) -> list[str]:
        """What Python holds now and did not hold after the first commit: the largest ten."""
        if self._early is None:
            return []
        return [str(each) for each in tracemalloc.take_snapshot().compare_to(self._early, "lineno")[:10]]


def resident_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def half(folder: Path, rows: int, stop_at: int, trace: bool) -> None:
    """One process of the job; prints what it took."""
    if trace:
        tracemalloc.start()
    with Interrupts() as interrupts, Watched(stop_at, interrupts, trace) as progress:
        config, _ = made_up_job(folder, rows)
        report = made_up_run(config, interrupts, progress).go()
        told = {"status": report.status, "samples": progress.samples, "grown": progress.grown()}
    print(json.dumps(told))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="where it is made, about 450 bytes a row; default: a temporary one")
    parser.add_argument("--trace", action="store_true", help="say which lines of Python hold more at the end")
    parser.add_argument("--half", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.half is not None:
        half(given.folder, given.rows, given.half, given.trace)
        return
    with tempfile.TemporaryDirectory() as folder:
        place = given.folder or Path(folder)
        made_up_job(place, given.rows)
        for name, stop_at in (("first half", given.rows // 2), ("restart", 2 * given.rows)):
            command = [sys.executable, "-m", "benchmarks.scale", f"--rows={given.rows}", f"--folder={place}"]
            command += [f"--half={stop_at}", *(["--trace"] if given.trace else [])]
            told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            print(f"{name}: {told['status']}")
            samples = told["samples"]
            if not samples:
                print("  nothing was left to do: more than half was done by the first commit; take more rows")
                continue
            first = next((each for each in samples if each[1]), samples[-1])
            for seconds, rows, mib in [
                samples[0],
                first,
                *samples[len(samples) // 8 :: len(samples) // 8 or 1],
                samples[-1],
            ]:
                print(f"  {seconds:8.1f} s  {rows:>12,} rows committed  {mib:7.1f} MiB")
            print("\n".join(f"  {line}" for line in told["grown"]))


if __name__ == "__main__":
    main()
