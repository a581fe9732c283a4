"""What the sha256 of a weights file costs the processes of a node that load it at once: first start, and the next."""

import argparse
import os
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from operators.models.weights.hash import sha256_of_file


def timed(path: str, barrier: Any, seconds: Any) -> None:
    barrier.wait()
    started = time.perf_counter()
    sha256_of_file(path)
    seconds.put(time.perf_counter() - started)


def at_once(path: str, processes: int) -> list[float]:
    """Seconds that each of so many processes takes, ascending."""
    context = get_context("spawn")
    barrier, seconds = context.Barrier(processes), context.Queue()
    started = [context.Process(target=timed, args=(path, barrier, seconds)) for _ in range(processes)]
    for each in started:
        each.start()
    taken = sorted(seconds.get() for _ in started)
    for each in started:
        each.join()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--processes", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        for name in ("w.safetensors", "w.pt"):
            path = Path(folder) / name
            with path.open("wb") as file:
                for _ in range(round(given.gib * 64)):
                    file.write(os.urandom(16 << 20))
            time.sleep(3)  # A file written a moment ago is not remembered.
            for start in ("first start", "next start"):
                taken = at_once(str(path), given.processes)
                shown = f"fastest {taken[0]:.3f} s, slowest {taken[-1]:.3f} s"
                print(f"{given.processes} processes, {given.gib:g} GiB {path.suffix}, {start}: {shown}")
            path.unlink()


if __name__ == "__main__":
    main()
