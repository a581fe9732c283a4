"""`python -m benchmarks.rests [--model NAME] [--seconds N]`: actors of Ray that embed all the time, one a core.

In turns of three seconds their main threads look for signals a hundred times a second, as Ray has it, and rest while
all calls are at work. Prints CPU time an image of each side.
"""

import argparse
import os
import threading
import time
from contextlib import nullcontext
from typing import Any

import numpy as np

TURN_S = 3.0
ROWS = 16
CALLS = 2
Spent = dict[str, list[float]]
"""Side -> CPU seconds, images."""


class Embeds:
    """Two calls at a time, which take turns at the model."""

    def __init__(self, model: str) -> None:
        from operators.models.load import describe, load_image_embedder
        from operators.models.runtime import Runtime
        from operators.models.spec import parse_model_name
        from pipelines.run.on_ray.rests import RestWhenFull

        description = describe(parse_model_name(model))
        self.embedder = load_image_embedder(description, Runtime(backend="auto", batch_size=ROWS, num_threads=1))
        size = description.preprocess
        self.pixels = np.random.default_rng(0).integers(0, 255, (ROWS, size.height, size.width, 3), np.uint8)
        self.rest, self.turn = RestWhenFull(CALLS), threading.Lock()
        self.cpu_s = 0.0
        self.embedder.embed(self.pixels)

    def ready(self) -> None:
        self.cpu_s = time.process_time()

    def work(self, seconds: float) -> Spent:
        """Whatever this process spends between two batches is of the side that the clock shows."""
        spent: Spent = {"looking": [0.0, 0.0], "resting": [0.0, 0.0]}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            # By the clock that all processes share.
            side = "resting" if int(time.time() / TURN_S) % 2 else "looking"
            with self.rest.call() if side == "resting" else nullcontext(), self.turn:
                self.embedder.embed(self.pixels)
                now = time.process_time()
                spent[side][0] += now - self.cpu_s
                spent[side][1] += ROWS
                self.cpu_s = now
        return spent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rests", description=__doc__)
    parser.add_argument("--model", default="open_clip:ViT-B-32/random-0", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=90.0, help="default: %(default)g")
    given = parser.parse_args()
    spent = measure(given.model, given.seconds)
    looking, resting = (sum(s[side][0] for s in spent) / sum(s[side][1] for s in spent) for side in spent[0])
    print(
        f"{given.model}: {1000 * looking:.3f} ms of CPU an image, {1000 * resting:.3f} at rest: {resting / looking:.3f}"
    )


def measure(model: str, seconds: float) -> list[Spent]:
    """Of each call of each actor."""
    import ray

    cores = len(os.sched_getaffinity(0))
    ray.init(address="local", num_cpus=cores, include_dashboard=False, log_to_driver=False)
    try:
        options: dict[str, Any] = {"num_cpus": 1, "max_concurrency": CALLS}
        actors = [ray.remote(**options)(Embeds).remote(model) for _ in range(cores)]
        ray.get([actor.ready.remote() for actor in actors])
        found: list[Spent] = ray.get([actor.work.remote(seconds) for actor in actors for _ in range(CALLS)])
        return found
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
