"""The bare limit: what the machine's cores could do, were there nothing but decoding, resizing and the model.

`python -m benchmarks.bare_limit CORE` reads a request (JSON) on stdin, says "ready", and for each line answers with a
measurement on stdout: a process of its own for each core, held to it and to one thread, all of them at once. One core
alone would be faster than it can be in a run: they share memory, caches and power (EfficientNet-Lite0 took 10.2 ms an
image on one of two cores, and 11.4 on both).
"""

import contextlib
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

LEAST_S = {"decode_s": 0.8, "resize_s": 0.4, "forward_s": 2.5}
"""How long a part is done over and over in a measurement: a few seconds together, since a run waits for it."""
SAMPLE = 128
"""Images that are decoded and resized, taken at even steps."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Seconds per image on one core while the others do the same."""

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


class BareLimit(contextlib.ExitStack):
    """Each part alone, with the kernels that the pipeline itself uses, on all cores at once. Its processes load the
    model once and cost nothing between measurements."""

    def __init__(self, photographs: list[Path], model: str, precision: str, batch_size: int) -> None:
        super().__init__()
        request = {
            "photographs": [str(path) for path in photographs[:: max(1, len(photographs) // SAMPLE)][:SAMPLE]],
            "model": model,
            "precision": precision,
            "batch_size": batch_size,
        }
        self._processes = [self.enter_context(_process(core)) for core in sorted(os.sched_getaffinity(0))]
        for process in self._processes:
            _say(process, json.dumps(request))
        for process in self._processes:
            _answer(process)

    def measure(self) -> Parts:
        """The mean of the cores."""
        for process in self._processes:
            _say(process, "go")
        return mean([Parts(**json.loads(_answer(process))) for process in self._processes])


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
    for _ in sys.stdin:
        parts = {
            "decode_s": _mean_s(lambda data: decode(data, rules), files, LEAST_S["decode_s"]),
            "resize_s": _mean_s(lambda image: fit(image, size, out), decoded, LEAST_S["resize_s"]),
            "forward_s": _mean_s(embedder.embed, [batch], LEAST_S["forward_s"]) / len(batch),
        }
        print(json.dumps(parts), flush=True)


def _mean_s(work: Callable[[Any], object], inputs: Sequence[object], least_s: float) -> float:
    """Seconds per input, whatever slowed some of them down: that slows a run down as well. No result is kept: an
    allocator that must ask the kernel for fresh pages makes decoding 1.7 times as slow."""
    rounds, started = 0, time.perf_counter()
    while not rounds or time.perf_counter() - started < least_s:
        for one in inputs:
            work(one)
        rounds += 1
    return (time.perf_counter() - started) / (rounds * len(inputs))


if __name__ == "__main__":
    main()
