"""Sums of vectors and of their products without any rounding, so that no order or partition can change a bit.

Floating-point sums depend on their order. Integers do not, so every number is taken as an integer on a fixed grid, and
the sums are integers. They are computed by the same float64 matrix product as inexact ones: it is exact as long as no
partial sum can pass 2^53, whatever the order in which BLAS adds. By Cauchy-Schwarz that holds where the squares of each
column sum up to less. Other columns are cut into a high and a low part whose products are summed apart. This is the
error-free splitting of K. Ozaki, T. Ogita, S. Oishi and S. M. Rump, "Error-free transformations of matrix
multiplication by using fast routines of matrix multiplication and its applications", Numerical Algorithms 59 (2012), on
a fixed grid: one that follows the data would depend on how the data are cut into parts.

float16 numbers lie on their grid, 2^-24, so nothing is rounded. float32 numbers are rounded to 2^-25, by at most
1.5e-8.
"""

from collections.abc import Iterator

import numpy as np

from operators.base.errors import UserError

GRID_BITS = {"float16": 24, "float32": 25}
"""Element type -> bits of its grid, 2^-bits. With 25 most columns of unit vectors need no cut; with 30, where the
float32 components of such vectors end, all of them would, for four times the work."""
_LARGEST = 1 << 41
"""Largest integer that is taken. Where all columns are cut, 2048 products of a high and a low part sum up to 2^51 at
most."""
_LOW_BITS = 14
_CHUNK_ROWS = 2048
_EXACT = 2.0**53 * (1 - 2.0**-20)
"""Sums of squares below this are exact: 2^53, less what those sums, which are rounded themselves, can be wrong by."""
_LIMB_BITS = 32


class ExactSums:
    """Number, sum and products of the vectors counted in. Grows by `add` and `merge`; pickles to 26 MB at 1280
    numbers."""

    def __init__(self, dim: int, grid_bits: int) -> None:
        self.dim = dim
        self.grid_bits = grid_bits
        self.rows = 0
        self.first = np.zeros(dim, object)
        """(D,) Python ints: the sum, in units of the grid."""
        self.second: dict[int, np.ndarray] = {}
        """Shift -> (2, D, D) int64, high and low limb: the products are the sum over shifts of (high * 2^32 + low) *
        2^shift, in squared units of the grid."""

    def add(self, vectors_ND: np.ndarray) -> None:
        """Count in finite float16 or float32 vectors. Raises `UserError` for numbers beyond the grid."""
        for start in range(0, len(vectors_ND), _CHUNK_ROWS):
            grid_ND = vectors_ND[start : start + _CHUNK_ROWS].astype(np.float64)
            grid_ND *= 2.0**self.grid_bits
            np.rint(grid_ND, out=grid_ND)
            largest = np.abs(grid_ND).max()
            if largest > _LARGEST:
                raise UserError(
                    f"a vector holds {largest * 2.0**-self.grid_bits:g}; exact sums take numbers up to "
                    f"{_LARGEST >> self.grid_bits} in size: embed with normalize.l2, or scale the vectors"
                )
            self.rows += len(grid_ND)
            self.first += grid_ND.sum(axis=0).astype(np.int64).astype(object)
            for shift, products_DD in _exact_products(grid_ND):
                whole_DD = products_DD.astype(np.int64)
                self._add_limbs(shift, np.stack([whole_DD >> _LIMB_BITS, whole_DD & ((1 << _LIMB_BITS) - 1)]))

    def merge(self, other: "ExactSums") -> None:
        """Count in everything that `other` has; `other` stays as it is."""
        self.rows += other.rows
        self.first = self.first + other.first
        for shift, limbs in other.second.items():
            self._add_limbs(shift, limbs)

    def _add_limbs(self, shift: int, limbs: np.ndarray) -> None:
        held = self.second.setdefault(shift, np.zeros((2, self.dim, self.dim), np.int64))
        held += limbs
        held[0] += held[1] >> _LIMB_BITS
        held[1] &= (1 << _LIMB_BITS) - 1

    def mean(self) -> np.ndarray:
        """(D,) float64, each the exact mean rounded once."""
        return np.array([total / (self.rows << self.grid_bits) for total in self.first])

    def covariance(self) -> np.ndarray:
        """(D, D) float64 with the divisor rows - 1, each number the exact covariance rounded once. Needs two rows at
        least.

        Computed in Python's integers: 0.5 s at 1280 numbers, whatever the number of rows.
        """
        divisor = self.rows * (self.rows - 1) << 2 * self.grid_bits
        covariance_DD = np.zeros((self.dim, self.dim))
        for i in range(self.dim):
            products = np.zeros(self.dim - i, object)
            for shift, (high, low) in self.second.items():
                products += ((high[i, i:].astype(object) << _LIMB_BITS) + low[i, i:].astype(object)) << shift
            numerators = self.rows * products - self.first[i] * self.first[i:]
            covariance_DD[i, i:] = covariance_DD[i:, i] = (numerators / divisor).astype(np.float64)
        return covariance_DD


def _exact_products(grid_ND: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(shift, (D, D) float64 integers below 2^53) pairs; their sum, each times 2^shift, is `grid_ND.T @ grid_ND`
    exactly."""
    squares = np.einsum("nd,nd->d", grid_ND, grid_ND)
    cut = squares > _EXACT
    if not cut.any():
        yield 0, grid_ND.T @ grid_ND
        return
    if squares[cut].max() * 4.0**-_LOW_BITS * squares[~cut].max(initial=0.0) > _EXACT**2 / 8:
        # Products of a high part with an uncut column could pass the bound.
        cut[:] = True
    high_NC = np.rint(grid_ND[:, cut] * 2.0**-_LOW_BITS)
    low_ND = grid_ND.copy()
    low_ND[:, cut] -= high_NC * 2.0**_LOW_BITS
    yield 0, low_ND.T @ low_ND
    cross_CD = high_NC.T @ low_ND
    cross_DD = np.zeros((len(cut), len(cut)))
    cross_DD[cut] = cross_CD
    cross_DD[:, cut] += cross_CD.T
    yield _LOW_BITS, cross_DD
    for shift, products_CC in _exact_products(high_NC):
        products_DD = np.zeros_like(cross_DD)
        products_DD[np.ix_(cut, cut)] = products_CC
        yield shift + 2 * _LOW_BITS, products_DD
