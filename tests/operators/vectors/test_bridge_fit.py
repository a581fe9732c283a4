"""Linear maps from exact sums: an exact rotation is found, and ridge is what scikit-learn gives."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from made.two_columns import rotation, unit
from operators.base.errors import UserError
from operators.vectors.bridge_fit import PENALTIES, fit_bridges
from operators.vectors.exact_sums import ExactSums


def summed(new: np.ndarray, old: np.ndarray) -> ExactSums:
    sums = ExactSums(new.shape[1] + old.shape[1], 25)
    sums.add(np.concatenate([new, old], axis=1).astype(np.float32))
    return sums


def test_an_orthogonal_map_of_a_rotation_is_the_rotation() -> None:
    turn = rotation(12)
    old = unit(np.random.default_rng(0).normal(size=(500, 12)) + 0.5)
    fitted = next(fit_bridges(summed(old @ turn.T, old), 12))
    assert fitted.kind == "orthogonal"
    assert np.abs(fitted.weights - turn).max() < 1e-5
    assert np.abs(fitted.weights @ fitted.weights.T - np.eye(12)).max() < 1e-12


def test_ridge_is_scikit_learns() -> None:
    random = np.random.default_rng(1)
    new = unit(random.normal(size=(300, 10)))
    old = unit(new @ random.normal(size=(10, 6)) + 0.3 * random.normal(size=(300, 6)) + 0.2)
    for fitted, penalty in zip(list(fit_bridges(summed(new, old), 10))[1:], PENALTIES, strict=True):
        variance = np.trace(np.cov(new.T)) / 10
        # scikit-learn penalises sums of squares, we means with the divisor rows - 1.
        expected = Ridge(alpha=penalty * variance * 299).fit(new.astype(float), old.astype(float))
        assert (fitted.kind, fitted.penalty) == ("ridge", penalty)
        assert np.abs(fitted.weights - expected.coef_.T).max() < 1e-5
        assert np.abs(fitted.mean_old - fitted.mean_new @ fitted.weights - expected.intercept_).max() < 1e-5


def test_the_order_of_rows_changes_no_bit() -> None:
    random = np.random.default_rng(2)
    new, old = unit(random.normal(size=(3000, 8))), unit(random.normal(size=(3000, 5)))
    order = random.permutation(3000)
    for one, other in zip(
        fit_bridges(summed(new, old), 8), fit_bridges(summed(new[order], old[order]), 8), strict=True
    ):
        assert one.weights.tobytes() == other.weights.tobytes()


def test_vectors_that_are_all_the_same_give_a_map_all_the_same() -> None:
    same = np.tile(unit(np.ones((1, 4))), (10, 1))
    for fitted in fit_bridges(summed(same, same), 4):
        assert np.isfinite(fitted.weights).all()


def test_one_row_is_too_few() -> None:
    one = unit(np.ones((1, 4)))
    with pytest.raises(UserError, match="1 rows with both vectors"):
        next(fit_bridges(summed(one, one), 4))
