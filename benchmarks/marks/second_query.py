"""`python -m benchmarks.marks.second_query TABLE IMAGE`: queries in one process, and the forward pass alone."""

import json
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarks.machine import ROOT
from benchmarks.turns import FailedProcess

QUERIES = 6
FORWARDS = 5


def ask_again(table: str, image: str) -> dict[str, Any]:
    """Seconds in a process of its own: `first_s`, `later_s`, and `forward_s` of one image, the best of a few."""
    command = [sys.executable, "-m", "benchmarks.marks.second_query", table, image]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise FailedProcess(f"second query: {done.stderr.strip()[-1000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(table: str, image: str) -> None:
    from jobs.search import SearchConfig, run

    taken = [_seconds(lambda: run(SearchConfig(table=table, image=image))) for _ in range(QUERIES)]
    print(json.dumps({"first_s": taken[0], "later_s": taken[1:], "forward_s": _forward_s(table)}))


def _forward_s(table: str) -> float:
    import lance

    from operators.models.load import load_image_embedder
    from operators.models.runtime import Runtime
    from pipelines.space.field import read_space

    _, model = read_space(lance.dataset(f"{table}.lance").schema.field("vector"), table)
    embedder = load_image_embedder(model, Runtime(backend="auto", batch_size=1))
    pixels = np.zeros((1, model.preprocess.height, model.preprocess.width, 3), np.uint8)
    return min(_seconds(lambda: embedder.embed(pixels)) for _ in range(FORWARDS))


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main(*sys.argv[1:])
