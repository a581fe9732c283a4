"""How much a pass takes after memory did not suffice, and how that recovers."""

from operators.models.towers.batch_limit import PASSES_BEFORE_MORE, BatchLimit


def test_without_a_failure_there_is_no_limit() -> None:
    assert BatchLimit().of(1000) == 1000


def test_a_failure_halves_and_one_is_the_least() -> None:
    limit, sizes = BatchLimit(), []
    for _ in range(6):
        sizes.append(limit.of(20))
        limit.failed(sizes[-1])
    assert sizes == [20, 10, 5, 3, 2, 1]
    assert limit.of(20) == 1


def test_it_doubles_after_passes_that_went_well_until_there_is_none() -> None:
    limit = BatchLimit()
    for images in (32, 16):
        limit.failed(images)
    sizes = []
    for _ in range(3 * PASSES_BEFORE_MORE):
        sizes.append(limit.of(32))
        limit.passed(sizes[-1], 32)
    assert [sizes[n * PASSES_BEFORE_MORE] for n in range(3)] == [8, 16, 32]
    assert limit.of(100) == 100


def test_passes_under_the_limit_say_nothing_about_more() -> None:
    limit = BatchLimit()
    limit.failed(32)
    for _ in range(3 * PASSES_BEFORE_MORE):
        limit.passed(3, 32)
    assert limit.of(32) == 16
