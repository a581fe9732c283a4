"""Recall by hand: copies count as each other, fewer rows than k are all there is, what says nothing is left out."""

import numpy as np
import pytest

from pipelines.neighbours.nearest import NOBODY, Nearest
from pipelines.neighbours.recall import TIES, recall, right_rows


def true(scores: list[float]) -> Nearest:
    """Rows 0, 1, 2, ... in order."""
    return Nearest(row_ids=np.arange(len(scores), dtype=np.uint64), scores=np.array(scores, np.float32))


def found(*row_ids: int) -> np.ndarray:
    return np.array(row_ids, np.uint64)


def test_the_share_of_the_true_k_is_the_mean_over_queries() -> None:
    truth = [true([0.9, 0.8, 0.7, 0.6])] * 2
    assert recall([found(1, 0), found(1, 3)], truth, 2) == 0.75
    assert recall([found(0), found()], truth, 1) == 0.5


def test_rows_as_near_as_the_kth_are_right_and_never_more_than_k_count() -> None:
    truth = [true([0.9, 0.8, 0.8, 0.8 - 5e-6, 0.7])]
    assert recall([found(0, 3)], truth, 2) == 1
    assert recall([found(1, 2, 3)], truth, 2) == 1
    assert recall([found(0, 4)], truth, 2) == 0.5


@pytest.mark.parametrize(("size", "apart", "same"), [(0.5, 5e-6, True), (0.5, 5e-5, False), (-3000, 0.02, True)])
def test_what_is_equal_grows_with_scores_over_1(size: float, apart: float, same: bool) -> None:
    assert right_rows(true([size, size - apart]), 1).tolist() == ([0, 1] if same else [0])


def test_copies_are_right_up_to_fifty_beyond_the_kth() -> None:
    truth = true([0.5] * (10 + TIES + 5))
    assert right_rows(truth, 10).tolist() == list(range(10 + TIES))
    assert right_rows(truth, 1).tolist() == list(range(1 + TIES))


def test_where_there_are_fewer_than_k_all_of_them_are_wanted() -> None:
    assert recall([found(0, 1, 2), found(5, 1)], [true([0.3, 0.2, 0.1]), true([0.3, 0.2])], 10) == 0.75


def test_queries_without_neighbours_say_nothing() -> None:
    assert recall([found(), found(0)], [NOBODY, true([0.5])], 10) == 1
    assert recall([found()], [NOBODY], 10) == 0
    assert recall([], [], 10) == 0
