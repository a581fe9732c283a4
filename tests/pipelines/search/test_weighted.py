"""Like these and unlike those, as one vector."""

import numpy as np
import pytest

from pipelines.search.weighted import weighted_sum

X, Y, Z = np.eye(3, dtype=np.float32)[:, None]


def test_the_sum_points_between_its_parts_and_away_from_what_it_is_to_be_unlike() -> None:
    assert weighted_sum([X, Y], [1, 1]) == pytest.approx(np.array([[0.5**0.5, 0.5**0.5, 0]]))
    assert weighted_sum([X, Y], [3, 4]) == pytest.approx(np.array([[0.6, 0.8, 0]]))
    assert weighted_sum([X, Y], [4, -3]) == pytest.approx(np.array([[0.8, -0.6, 0]]))


def test_parts_count_by_their_weights_and_not_by_their_lengths_and_the_length_is_their_mean() -> None:
    summed = weighted_sum([100 * X, Y], [1, 1])
    assert summed / np.linalg.norm(summed) == pytest.approx(np.array([[0.5**0.5, 0.5**0.5, 0]]))
    assert np.linalg.norm(summed) == pytest.approx(50.5)
    assert np.linalg.norm(weighted_sum([100 * X, Y, Z], [1, 2, -1])) == pytest.approx((100 + 2 + 1) / 4)
    assert weighted_sum([X.astype(np.float16), Y], [1, 1]).dtype == np.float32


@pytest.mark.parametrize("parts", [[X, X], [X, X + 1e-5 * Y], [np.zeros_like(X), Y]])
def test_what_cancels_out_has_no_direction(parts: list[np.ndarray]) -> None:
    weights = [1, -1] if parts[0].any() else [1, 0.0001]
    with pytest.raises(ValueError, match="cancel each other out"):
        weighted_sum(parts, weights)


def test_rows_of_several_vectors_have_no_sum() -> None:
    with pytest.raises(ValueError, match="several vectors here"):
        weighted_sum([np.concatenate([X, Y]), Z], [1, 1])
