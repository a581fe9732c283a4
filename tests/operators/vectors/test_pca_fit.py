"""A PCA of exact sums, against scikit-learn's of the same vectors, and what must hold of any."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from operators.base.errors import UserError
from operators.vectors.pca_fit import FittedPca, fit_pca
from tests.operators.vectors.test_exact_sums import summed, unit

DIM, ROWS = 48, 4000


def correlated(dtype: str, rows: int = ROWS, dim: int = DIM, norm: bool = True) -> np.ndarray:
    """Vectors around a mean, whose variance falls by a factor of 10,000 from the first direction to the last."""
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    vectors = rng.normal(size=(rows, dim)) * np.geomspace(1, 0.01, dim) @ basis + rng.normal(size=dim) / 5
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if norm else vectors * 30).astype(dtype)


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize("norm", [True, False], ids=["unit", "any"])
def test_equals_scikit_learn(dtype: str, whiten: bool, norm: bool) -> None:
    vectors = correlated(dtype, norm=norm)
    ours = fit_pca(summed(vectors, parts=3), 12, whiten=whiten)
    theirs = PCA(12, whiten=whiten, svd_solver="full").fit(vectors.astype("f8"))
    assert np.abs(ours.mean - theirs.mean_).max() < 1e-8
    assert subspace_angles(ours.components.T, theirs.components_.T).max() < 1e-6
    assert np.allclose(ours.components, theirs.components_, atol=1e-6), "the same signs too"
    assert np.allclose(ours.explained_variance, theirs.explained_variance_, rtol=1e-6, atol=0)
    assert np.allclose(ours.explained_variance_ratio, theirs.explained_variance_ratio_, rtol=1e-6, atol=0)
    projected = projection(ours, vectors, whiten=whiten)
    assert np.allclose(projected, theirs.transform(vectors.astype("f8")), atol=1e-5)


def projection(pca: FittedPca, vectors: np.ndarray, *, whiten: bool) -> np.ndarray:
    along = (vectors.astype("f8") - pca.mean) @ pca.components.T
    return along / np.sqrt(pca.explained_variance) if whiten else along


@pytest.mark.parametrize("seed", range(5))
def test_all_components_give_the_vectors_back(seed: int) -> None:
    vectors = unit(100, 16, seed=seed)
    pca = fit_pca(summed(vectors), 16, whiten=False)
    assert np.allclose(pca.components @ pca.components.T, np.eye(16), atol=1e-12)
    back = projection(pca, vectors, whiten=False) @ pca.components + pca.mean
    assert np.abs(back - vectors.astype("f8")).max() < 1e-12
    assert pca.explained_variance_ratio.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("count", [1, 5, 12])
def test_what_is_lost_is_the_variance_left_over(count: int) -> None:
    vectors = correlated("f2")
    pca = fit_pca(summed(vectors), count, whiten=False)
    back = projection(pca, vectors, whiten=False) @ pca.components + pca.mean
    lost = ((vectors - back) ** 2).sum() / (ROWS - 1)
    kept = pca.explained_variance.sum()
    assert lost == pytest.approx(kept / pca.explained_variance_ratio.sum() - kept, rel=1e-9)


@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_whitened_components_are_uncorrelated_and_of_unit_variance(dtype: str) -> None:
    vectors = correlated(dtype)
    pca = fit_pca(summed(vectors), DIM - 1, whiten=True)
    covariance = np.cov(projection(pca, vectors, whiten=True).T)
    assert np.allclose(covariance, np.eye(DIM - 1), atol=1e-6)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.95, 0.999])
def test_a_share_of_the_variance_takes_the_fewest_components(share: float) -> None:
    sums = summed(correlated("f2"))
    ratio = fit_pca(sums, DIM, whiten=False).explained_variance_ratio
    chosen = len(fit_pca(sums, share, whiten=False).components)
    assert ratio[:chosen].sum() >= share > ratio[: chosen - 1].sum()
    assert chosen == PCA(share).fit(correlated("f2").astype("f8")).n_components_


def test_the_same_bytes_for_any_order_and_partition() -> None:
    vectors = correlated("f2")
    expected = fit_pca(summed(vectors), 10, whiten=True).tensors()
    shuffled = np.random.default_rng(0).permutation(vectors)
    for parts in (3, 7):
        tensors = fit_pca(summed(shuffled, parts), 10, whiten=True).tensors()
        assert {name: each.tobytes() for name, each in tensors.items()} == {
            name: each.tobytes() for name, each in expected.items()
        }


def test_fewer_rows_than_numbers() -> None:
    vectors = unit(20, 64)
    ours = fit_pca(summed(vectors), 19, whiten=True)
    theirs = PCA(19, whiten=True, svd_solver="full").fit(vectors.astype("f8"))
    assert subspace_angles(ours.components.T, theirs.components_.T).max() < 1e-6
    assert np.allclose(ours.explained_variance, theirs.explained_variance_, rtol=1e-6)
    with pytest.raises(UserError, match=r"dim 21: 20 vectors of 64 numbers have 1 to 20 components; fit on more rows"):
        fit_pca(summed(vectors), 21, whiten=False)
    with pytest.raises(UserError, match="20 whitened components asked for, the 20 vectors vary in 19 directions alone"):
        fit_pca(summed(vectors), 20, whiten=True)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(UserError, match=r"dim 17: 20 vectors of 16 numbers have 1 to 16 components$"):
        fit_pca(summed(unit(20, 16)), 17, whiten=False)
    with pytest.raises(UserError, match="1 vectors to fit on; two are needed"):
        fit_pca(summed(unit(1, 4)), 1, whiten=False)
    with pytest.raises(UserError, match="do not differ enough"):
        fit_pca(summed(np.ones((10, 4), "f2")), 1, whiten=False)
    with pytest.raises(UserError, match="do not differ enough"):
        fit_pca(summed(unit(100, 8, "f4") * np.float32(1e-6)), 1, whiten=False)
    with pytest.raises(UserError, match=r"dim 1\.0: a number of components, or a share"):
        fit_pca(summed(unit(100, 8)), 1.0, whiten=False)
