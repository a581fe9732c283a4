"""The bare limit: what the machine's cores could do, were there nothing but decoding, resizing and the model.

`python -m benchmarks.bare_limit CORE` reads a request (JSON) on stdin, says "ready", waits for a line and answers on
stdout: a process of its own for each core, held to it and to one thread, all of them at once. One core alone would be
faster than it can be in a run: they share memory, caches and power (EfficientNet-Lite0 took 10.2 ms an image on one of
two cores, and 11.4 on both).
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 5
SHORTEST_S = 3.0
"""Of all rounds of a part together: there may be more of them."""
SAMPLE = 128
"""Images that are decoded and resized, taken at even steps."""
FORWARDS = 2
"""Batches in a round of the model."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Seconds per image on one core while the others do the same; the median round."""

    decode_s: float
    resize_s: float
    forward_s: float

    @property
    def total_s(self) -> float:
        return self.decode_s + self.resize_s + self.forward_s

    def images_per_s(self, cores: int) -> float:
        return cores / self.total_s


def mean(parts: list[Parts]) -> Parts:
    return Parts(**{name: float(np.mean([asdict(p)[name] for p in parts])) for name in asdict(parts[0])})


def measure(photographs: list[Path], model: str, precision: str, batch_size: int) -> Parts:
    """Each part alone, with the kernels that the pipeline itself uses, on all cores at once; the mean of the cores."""
    request = {
        "photographs": [str(path) for path in photographs[:: max(1, len(photographs) // SAMPLE)][:SAMPLE]],
        "model": model,
        "precision": precision,
        "batch_size": batch_size,
    }
    with contextlib.ExitStack() as running:
        processes = [running.enter_context(_process(core)) for core in sorted(os.sched_getaffinity(0))]
        for process in processes:
            _say(process, json.dumps(request))
        for process in processes:
            _answer(process)
        for process in processes:
            _say(process, "go")
        return mean([Parts(**json.loads(_answer(process))) for process in processes])


def _process(core: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bare_limit", str(core)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _say(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin
    print(line, file=process.stdin, flush=True)


def _answer(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the bare limit ended with exit code {process.wait()}")
    return line


def main() -> None:
    os.sched_setaffinity(0, {int(sys.argv[1])})
    request = json.loads(sys.stdin.readline())
    from operators.models.load import describe, load_image_embedder
    from operators.models.runtime import Runtime
    from operators.models.spec import parse_model_name
    from operators.pixels.images import DecodeRules, decode
    from operators.pixels.resize import fit

    description = describe(parse_model_name(request["model"]))
    batch_size, size = request["batch_size"], description.preprocess
    runtime = Runtime(backend="auto", precision=request["precision"], batch_size=batch_size)
    embedder = load_image_embedder(description, runtime)
    rules = DecodeRules(max_pixels=50_000_000)
    files = [Path(path).read_bytes() for path in request["photographs"]]
    decoded = [decode(data, rules).pixels for data in files]
    pixels = np.zeros((len(files), size.height, size.width, 3), np.uint8)
    for out, image in zip(pixels, decoded, strict=True):
        fit(image, size, out)
    batch = pixels[:batch_size]
    out = np.empty(pixels.shape[1:], np.uint8)
    embedder.embed(batch)
    print("ready", flush=True)
    sys.stdin.readline()
    parts = {
        "forward_s": _median_s(embedder.embed, [batch] * FORWARDS) / len(batch),
        "decode_s": _median_s(lambda data: decode(data, rules), files),
        "resize_s": _median_s(lambda image: fit(image, size, out), decoded),
    }
    print(json.dumps(parts), flush=True)


def _median_s(work: Callable[[Any], object], inputs: Sequence[object]) -> float:
    """Seconds per input in the median round. No result is kept: an allocator that must ask the kernel for fresh pages
    makes decoding 1.7 times as slow."""
    rounds: list[float] = []
    while len(rounds) < ROUNDS or sum(rounds) < SHORTEST_S:
        started = time.perf_counter()
        for one in inputs:
            work(one)
        rounds.append(time.perf_counter() - started)
    return statistics.median(rounds) / len(inputs)


if __name__ == "__main__":
    main()
