"""`python -m benchmarks.long_turns [--seconds N]`: processes that embed and decode on shared cores, with and without
`take_long_turns`.

For each core a process that embeds all the time and one that decodes for a tenth of it, as in a run with
EfficientNet-Lite0; all of them change sides every three seconds. Prints CPU time an image of each side.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import photographs

TURN_S = 3.0
DECODING_SHARE = 0.1
"""Of a process's time in which it decodes."""
ROWS = 16
PARTS = ("embed", "decode")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_turns", description=__doc__)
    parser.add_argument("--seconds", type=float, default=90.0, help="default: %(default)g")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--images", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        _part(given.part, given.images, given.seconds)
        return
    with tempfile.TemporaryDirectory(prefix="pixlake-bench-") as folder:
        photographs.make(Path(folder))
        command = [sys.executable, "-m", "benchmarks.long_turns", "--images", folder, "--seconds", str(given.seconds)]
        running = {part: [_started([*command, "--part", part]) for _ in os.sched_getaffinity(0)] for part in PARTS}
        for processes in running.values():
            for process in processes:
                _line(process)
        for part, processes in running.items():
            _print(part, [json.loads(_line(process, b"go\n")) for process in processes])


def _started(command: list[str]) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def _line(process: "subprocess.Popen[bytes]", say: bytes = b"") -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(say)
    process.stdin.flush()
    return process.stdout.readline()


def _print(part: str, sides: list[dict[str, list[float]]]) -> None:
    without, long = (
        sum(side[name][0] for side in sides) / max(sum(side[name][1] for side in sides), 1)
        for name in ("without", "long")
    )
    print(f"{part:6}  {1000 * without:7.3f} ms of CPU an image, {1000 * long:7.3f} in long turns: {long / without:.3f}")


def _part(part: str, images: Path, seconds: float) -> None:
    """Works in turns with and without, and says the CPU seconds and images of both."""
    from operators.base.process_settings import take_long_turns

    work = _embedding() if part == "embed" else _decoding(images)
    work()
    print("ready", flush=True)
    sys.stdin.readline()
    spent: dict[str, list[float]] = {"without": [0.0, 0.0], "long": [0.0, 0.0]}
    began, cpu_before = time.monotonic(), time.process_time()
    while time.monotonic() - began < seconds:
        # By the clock that all processes share.
        side = "long" if int(time.time() / TURN_S) % 2 else "without"
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        if side == "long":
            take_long_turns()
        started = time.process_time()
        work()
        spent[side][0] += time.process_time() - started
        spent[side][1] += ROWS
        if part == "decode":
            busy = time.process_time() - cpu_before
            time.sleep(max(0.0, busy / DECODING_SHARE - (time.monotonic() - began)))
    print(json.dumps(spent), flush=True)


def _embedding() -> Callable[[], object]:
    from operators.models.load import describe, load_image_embedder
    from operators.models.runtime import Runtime
    from operators.models.spec import parse_model_name

    description = describe(parse_model_name("efficientnet-lite0"))
    embedder = load_image_embedder(description, Runtime(backend="auto", batch_size=ROWS, num_threads=1))
    size = description.preprocess
    pixels = np.random.default_rng(0).integers(0, 255, (ROWS, size.height, size.width, 3), np.uint8)
    return lambda: embedder.embed(pixels)


def _decoding(images: Path) -> Callable[[], object]:
    from operators.models.load import describe
    from operators.models.spec import parse_model_name
    from operators.pixels.images import DecodeRules, decode
    from operators.pixels.resize import fit

    size = describe(parse_model_name("efficientnet-lite0")).preprocess
    files = [path.read_bytes() for path in photographs.find(images)]
    rules, out = DecodeRules(max_pixels=50_000_000), np.empty((size.height, size.width, 3), np.uint8)
    at = 0

    def work() -> None:
        nonlocal at
        for number in range(at, at + ROWS):
            fit(decode(files[number % len(files)], rules).pixels, size, out)
        at += ROWS

    return work


if __name__ == "__main__":
    main()
