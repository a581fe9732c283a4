"""Vectors on a plane, so that neighbours stay neighbours: UMAP (L. McInnes, J. Healy, J. Melville, "UMAP: Uniform
Manifold Approximation and Projection for Dimension Reduction", 2018), by umap-learn."""

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from operators.base.errors import UserError

_FEWEST = 4
"""Vectors that UMAP needs; fewer are put on a line."""
_PLACED = 10_000
"""Vectors that are placed in one go."""


class Near(NamedTuple):
    """Of each of N vectors the k that are nearest to it, nearest first, itself left out."""

    places: np.ndarray
    """(N, k) int64: which vectors."""
    cosines: np.ndarray
    """(N, k) float32."""


def on_plane(
    vectors_ND: np.ndarray,
    *,
    fitted: int,
    neighbours: int,
    seed: int,
    phase: Callable[[str], None] = lambda _: None,
) -> np.ndarray:
    """(N, 2) float32: where each of (N, D) float32 unit vectors lies.

    The plane is made of `fitted` vectors at random, by cosine; all others are placed on it. The same vectors and seed
    give the same plane on the same machine. Raises `UserError` where umap-learn is not installed.
    """
    if len(vectors_ND) < _FEWEST:
        return np.stack([np.arange(len(vectors_ND)), np.zeros(len(vectors_ND))], 1).astype(np.float32)
    phase("importing umap-learn")
    try:
        from umap import UMAP
    except ImportError:
        raise UserError("a map needs umap-learn and embedding-atlas: pip install 'pixlake[map]'") from None
    _keep_compiled()
    order = np.random.default_rng(seed).permutation(len(vectors_ND))
    first, rest = np.sort(order[:fitted]), np.sort(order[fitted:])
    # Its spectral start needs more vectors than dimensions of the plane by far.
    start = "spectral" if len(first) > 2 * _FEWEST else "random"
    reducer = UMAP(
        n_neighbors=min(neighbours, len(first) - 1), metric="cosine", random_state=seed, n_jobs=1, init=start
    )
    phase(f"laying {len(first)} vectors on a plane")
    plane = np.empty((len(vectors_ND), 2), np.float32)
    plane[first] = reducer.fit_transform(vectors_ND[first])
    for at in range(0, len(rest), _PLACED):
        phase(f"placing {len(rest)} more vectors, {at} done")
        some = rest[at : at + _PLACED]
        plane[some] = reducer.transform(vectors_ND[some])
    return plane


def _keep_compiled() -> None:
    """Have numba keep what it compiles of umap-learn for the next process, as it does by itself for pynndescent: 17 of
    20 s of a small map, each time (umap-learn 0.5.12). Where no folder can be written to, nothing is kept."""
    from numba.core.dispatcher import Dispatcher
    from umap import layouts, umap_, utils

    for module in (umap_, layouts, utils):
        for function in vars(module).values():
            if isinstance(function, Dispatcher):
                with suppress(RuntimeError):
                    function.enable_caching()


def nearest_each(vectors_ND: np.ndarray, k: int) -> Near:
    """The nearest of (N, D) float32 unit vectors among themselves, exactly, by faiss."""
    import faiss

    k = min(k, len(vectors_ND) - 1)
    if k < 1:
        return Near(np.zeros((len(vectors_ND), 0), np.int64), np.zeros((len(vectors_ND), 0), np.float32))
    index = faiss.IndexFlatIP(vectors_ND.shape[1])
    index.add(vectors_ND)
    cosines, places = index.search(vectors_ND, k + 1)
    # Among copies of one image it need not be the image itself that comes first, or comes at all.
    others = places != np.arange(len(places))[:, None]
    others[others.all(1), -1] = False
    shape = (len(places), k)
    return Near(places[others].reshape(shape), cosines[others].reshape(shape))
