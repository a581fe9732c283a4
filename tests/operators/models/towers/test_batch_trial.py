"""Which batch a trial settles on, by the times that it is told."""

from collections.abc import Callable

import pytest

from operators.models.towers.batch_trial import SIZES, fastest_batch


def device(fixed: float, per_image: float, holds: int) -> Callable[[int], float | None]:
    """A pass costs `fixed` seconds whatever its size, and so much an image; no more than `holds` images fit."""
    return lambda size: None if size > holds else fixed + per_image * size


@pytest.mark.parametrize(
    ("fixed", "per_image", "holds", "expected"),
    [
        (0.0, 1e-3, 2048, 8),  # always as fast: the smallest
        (1e-2, 1e-3, 2048, 256),  # 512 and 1024 bring less than 3 % more
        (1e-2, 1e-3, 200, 128),  # memory ends it
        (1.0, 1e-6, 2048, 2048),  # all is start-up
        (1.0, 1e-6, 4, 8),  # nothing fits: the embedder halves the smallest
    ],
)
def test_the_smallest_batch_that_is_nearly_as_fast_as_the_fastest(
    fixed: float, per_image: float, holds: int, expected: int
) -> None:
    assert fastest_batch(device(fixed, per_image, holds)) == expected


def test_two_doublings_for_nothing_end_the_trial() -> None:
    tried: list[int] = []

    def seconds(size: int) -> float:
        tried.append(size)
        return 1.0 if size <= 32 else size / 32

    assert fastest_batch(seconds) == 32
    assert tried == [8, 16, 32, 64, 128]


def test_one_doubling_for_nothing_does_not() -> None:
    rates = dict.fromkeys(SIZES, 200.0) | {8: 50.0, 16: 80.0, 32: 100.0, 64: 90.0}
    assert fastest_batch(lambda size: size / rates[size]) == 128
