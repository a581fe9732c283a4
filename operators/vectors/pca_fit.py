"""A principal component analysis from exact sums: from covariance to components, the same bytes for the same rows."""

import math
from dataclasses import dataclass

import numpy as np

from operators.base.errors import UserError
from operators.vectors.exact_sums import GRID_BITS, ExactSums


@dataclass(frozen=True, kw_only=True)
class FittedPca:
    """The fit under the names that scikit-learn's `PCA` gives its parts, in float64."""

    mean: np.ndarray
    """(D,) mean of the vectors."""
    components: np.ndarray
    """(K, D) orthonormal rows, by falling variance; in each, the number largest in size is positive."""
    explained_variance: np.ndarray
    """(K,) variance along each component, with the divisor rows - 1."""
    explained_variance_ratio: np.ndarray
    """(K,) share of the variance of all D directions."""

    def tensors(self) -> dict[str, np.ndarray]:
        return dict(vars(self))


def fit_pca(sums: ExactSums, dim: int | float, *, whiten: bool) -> FittedPca:
    """Fit `dim` components, or the fewest that explain at least that share of the variance (0 < dim < 1).

    Components are the eigenvectors of the covariance, by LAPACK on one matrix: the same on one machine whatever the
    rows' order. With `whiten` each component needs a variance to be divided by. Raises `UserError` where the rows
    cannot give that many.
    """
    _check(sums, dim)
    variances, vectors_DD = np.linalg.eigh(sums.covariance())
    # From the largest down. Rounding makes zeros slightly negative.
    variances, components_DD = np.maximum(variances[::-1], 0.0), vectors_DD[:, ::-1].T
    total = math.fsum(variances)
    if total <= _grid_noise(sums):
        raise UserError(
            f"the {sums.rows:,} vectors do not differ enough (variance {total:g} in all, of which rounding to "
            f"2^-{sums.grid_bits} may be a millionth or more): there are no components to find"
        )
    ratio = variances / total
    count = dim if isinstance(dim, int) else int(np.searchsorted(np.cumsum(ratio), dim)) + 1
    rank = int((variances > variances[0] * sums.dim * np.finfo(np.float64).eps).sum())
    if whiten and count > rank:
        raise UserError(
            f"{count} whitened components asked for, the {sums.rows:,} vectors vary in {rank} directions alone; ask "
            f"for {rank} at most"
        )
    return FittedPca(
        mean=sums.mean(),
        components=_with_signs(components_DD[:count]),
        explained_variance=variances[:count].copy(),
        explained_variance_ratio=ratio[:count].copy(),
    )


def _check(sums: ExactSums, dim: int | float) -> None:
    if isinstance(dim, float) and not 0 < dim < 1:
        raise UserError(f"dim {dim}: a number of components, or a share of the variance between 0 and 1")
    if sums.rows < 2:
        raise UserError(f"{sums.rows} vectors to fit on; two are needed at least, and thousands to mean anything")
    most = min(sums.rows, sums.dim)
    if dim > most or dim <= 0:
        raise UserError(
            f"dim {dim}: {sums.rows:,} vectors of {sums.dim} numbers have 1 to {most} components"
            + ("; fit on more rows" if sums.rows < sums.dim else "")
        )


def _grid_noise(sums: ExactSums) -> float:
    """A million times the variance that rounding to the grid can add; 0 for float16, which is not rounded."""
    return 0.0 if sums.grid_bits == GRID_BITS["float16"] else 1e6 * sums.dim * 4.0 ** -(sums.grid_bits + 1)


def _with_signs(components_KD: np.ndarray) -> np.ndarray:
    """Components with fixed signs. An eigenvector is one up to its sign: the number largest in size, the first of equal
    ones, is made positive."""
    largest = np.abs(components_KD).argmax(axis=1)
    signs = np.sign(components_KD[np.arange(len(components_KD)), largest])
    return np.ascontiguousarray(components_KD * signs[:, None])
