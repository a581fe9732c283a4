"""Of the ways to run a model on this machine's CPU, the fastest whose vectors are near enough to those in float32."""

from collections.abc import Sequence

import numpy as np

from operators.models.backends.choose import hindrance
from operators.models.backends.instructions import cpu, is_native
from operators.models.canaries import Canaries
from operators.models.spec import Backend, ModelSpec, Precision

Numerics = tuple[Precision, Backend]
"""A way to run a model, by all that can change the numbers that come out."""

LEAST_COSINE_TO_FLOAT32 = 0.999
_GAIN = 1.2
"""How many times as fast as float32 another precision must be: times of a busy machine differ by as much."""


def ways_here(spec: ModelSpec, backend: Backend, *, compile: bool) -> list[Numerics]:
    """Float32 first, then bfloat16 by each backend that may run it, where the CPU has instructions for it. float16 is
    never faster: not even on CPUs that have it."""
    ways: list[Numerics] = [("float32", backend)]
    if is_native("bfloat16", cpu()):
        if backend != "openvino":
            ways.append(("bfloat16", "torch"))
        if backend != "torch" and hindrance(spec, device="cpu", compile=compile) is None:
            ways.append(("bfloat16", "openvino"))
    return ways


def fastest(tried: Sequence[tuple[Canaries | None, float | None]]) -> int:
    """Which of the ways to take, from what each gave for the canary images (None: it cannot) and its seconds an image.

    The first is float32. Another must agree with it to a cosine of 0.999 on each canary, and gain a fifth of the speed.
    """
    exact, best_s = tried[0]
    if exact is None or best_s is None:
        return 0
    best, best_s = 0, best_s / _GAIN
    for at, (canaries, seconds) in enumerate(tried[1:], 1):
        if canaries is None or seconds is None or seconds >= best_s:
            continue
        # They are of unit length, but for their rounding to float16.
        pairs = [each.to_numpy().astype(np.float64) for each in (exact, canaries)]
        one, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in pairs)
        if ((one * other).sum(1) >= LEAST_COSINE_TO_FLOAT32).all():
            best, best_s = at, seconds
    return best
