"""The bare limit: what the machine's cores could do, were there nothing but decoding, resizing and the model.

`python -m benchmarks.bare_limit` reads a request (JSON) on stdin and answers on stdout: a process of its own, held to
one core and one thread, as nothing of the run beside it may disturb it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 5
SAMPLE = 128
"""Images that are decoded and resized, taken at even steps."""
FORWARDS = 2
"""Batches in a round of the model."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Seconds per image on one core, the best of `ROUNDS`."""

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
    """Each part alone, with the kernels that the pipeline itself uses."""
    request = {
        "photographs": [str(path) for path in photographs[:: max(1, len(photographs) // SAMPLE)][:SAMPLE]],
        "model": model,
        "precision": precision,
        "batch_size": batch_size,
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bare_limit"],
        input=json.dumps(request),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return Parts(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    request = json.load(sys.stdin)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
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
    best = {
        "decode_s": _best_s(lambda data: decode(data, rules), files),
        "resize_s": _best_s(lambda image: fit(image, size, out), decoded),
        "forward_s": _best_s(embedder.embed, [batch] * FORWARDS) / len(batch),
    }
    print(json.dumps(best))


def _best_s(work: Callable[[Any], object], inputs: Sequence[object]) -> float:
    """Seconds per input in the best of `ROUNDS`. No result is kept: an allocator that must ask the kernel for fresh
    pages makes decoding 1.7 times as slow."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for one in inputs:
            work(one)
        rounds.append(time.perf_counter() - started)
    return min(rounds) / len(inputs)


if __name__ == "__main__":
    main()
