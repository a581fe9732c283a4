"""How many images a GPU is given at a time: found by trial, since no table of devices and networks says it."""

from collections.abc import Callable

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
ENOUGH = 0.97
"""Share of the best rate that will do: a smaller batch holds less memory and leaves smaller remainders of a block."""


def fastest_batch(seconds: Callable[[int], float | None]) -> int:
    """The smallest of `SIZES` at which a pass gives nearly the most images a second.

    `seconds` times a pass of so many images; None where memory does not suffice, and nothing larger is tried then. Nor
    is it where two doublings one after the other have brought nothing.
    """
    rates: dict[int, float] = {}
    for size in SIZES:
        taken = seconds(size)
        if taken is None:
            break
        rates[size] = size / taken
        earlier = list(rates.values())[:-2]
        if earlier and max(list(rates.values())[-2:]) * ENOUGH < max(earlier):
            break
    # Where not even the smallest fits, the embedder halves it further.
    wanted = max(rates.values(), default=0.0) * ENOUGH
    return next((size for size, rate in rates.items() if rate >= wanted), SIZES[0])
