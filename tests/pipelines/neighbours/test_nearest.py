"""The best of many scores, in one order: what is equal, what is no number, what came in parts."""

import numpy as np
import pytest

from pipelines.neighbours.nearest import NOBODY, Nearest, best_of, nearest_of


def some(row_ids: list[int], scores: list[float]) -> Nearest:
    return Nearest(row_ids=np.array(row_ids, np.uint64), scores=np.array(scores, np.float32))


@pytest.mark.parametrize("rows", [3, 30, 500])
def test_the_highest_first_and_of_equal_ones_the_first(rows: int) -> None:
    scores = np.random.default_rng(rows).integers(0, 9, rows).astype("f4")
    assert best_of(scores, 7).tolist() == sorted(range(rows), key=lambda at: (-scores[at], at))[:7]


@pytest.mark.parametrize("numbers", [2, 5, 100])
def test_what_is_no_number_comes_last(numbers: int) -> None:
    scores = np.full(200, np.nan, np.float32)
    scores[50 : 50 + numbers] = np.arange(numbers)
    highest = list(range(49 + numbers, 49, -1))
    assert best_of(scores, 5).tolist()[:numbers] == highest[:5]
    assert len(best_of(scores, 5)) == 5


def test_parts_in_any_order_give_the_same() -> None:
    one, other = [some([7, 3], [0.9, 0.5]), NOBODY], [some([4, 2], [0.9, 0.5]), some([1], [0.1])]
    for parts in ([one, other], [other, one]):
        first, second = nearest_of(parts, 3)
        assert (first.row_ids.tolist(), second.row_ids.tolist()) == ([4, 7, 2], [1])


def test_fewer_and_without() -> None:
    found = some([5, 6, 7], [3, 2, 1])
    assert found.first(2).row_ids.tolist() == [5, 6]
    others = found.without(np.array([6, 99], np.uint64))
    assert (others.row_ids.tolist(), others.scores.tolist()) == ([5, 7], [3, 1])
