"""Groups from pairs: nodes are ranked 0, 1, …, the one to keep first, and edges join those that are alike.

`leader`: going down the ranks, a node that is alike to no kept one is kept. Whoever is not kept is thus alike to a kept
one. `chain`: whatever is connected is one group (single linkage), however unlike its ends.
"""

from typing import Literal, NamedTuple

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

Linkage = Literal["leader", "chain"]
_AT_ONCE = 1 << 24
"""Edges whose components are found at once, 400 MiB."""


class Grouped(NamedTuple):
    """For each of N nodes the node that is kept of its group, and the cosine to it."""

    kept: np.ndarray
    """(N,) int64: itself where it is kept."""
    cosine: np.ndarray
    """(N,) float32: 1 to itself; NaN where no edge leads there."""


def group(nodes: int, low: np.ndarray, high: np.ndarray, cosine: np.ndarray, linkage: Linkage) -> Grouped:
    """Groups of nodes from edges `low` < `high` (E,), each given once, with their cosines (E,) float32.

    Memory: 20 bytes an edge and 32 a node beside what is given.
    """
    if not len(low):
        return Grouped(np.arange(nodes), np.ones(nodes, np.float32))
    if linkage == "leader":
        return nearest_leaders(leaders(nodes, low, high), low, high, cosine)
    kept = components(nodes, low, high)
    to_kept = np.where(kept == np.arange(nodes), np.float32(1), np.float32(np.nan))
    direct = kept[high] == low
    to_kept[high[direct]] = cosine[direct]
    return Grouped(kept, to_kept)


def components(nodes: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(N,) int64: the first node of each node's connected component."""
    label = np.arange(nodes)
    for first in range(0, len(low), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        one, other = label[low[some]], label[high[some]]
        edges = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(nodes, nodes))
        label = connected_components(edges, directed=False)[1][label].astype(np.int64)
    first_of: np.ndarray = np.full(int(label.max()) + 1, nodes)
    np.minimum.at(first_of, label, np.arange(nodes))
    kept: np.ndarray = first_of[label]
    return kept


def leaders(nodes: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(N,) bool: which nodes are kept, going down the ranks (the lexicographically first maximal independent set).

    Nodes whose better neighbours are all decided are decided together (Blelloch, Fineman and Shun, 2012, "Greedy
    sequential maximal independent set and matching are parallel on average"), so each edge is looked at twice.
    """
    above = csr_array((np.ones(len(low), np.int8), (low, high)), shape=(nodes, nodes))
    starts, neighbours = above.indptr, above.indices
    waiting = np.bincount(high, minlength=nodes)
    kept, decided = np.zeros(nodes, bool), np.zeros(nodes, bool)
    new = np.flatnonzero(waiting == 0)
    while len(new):
        kept[new] = decided[new] = True
        like = _neighbours(starts, neighbours, new)
        followers = np.unique(like[~decided[like]])
        decided[followers] = True
        # Who has only followers above it is like none that is kept.
        below = _neighbours(starts, neighbours, followers)
        touched, times = np.unique(below, return_counts=True)
        waiting[touched] -= times
        new = touched[(waiting[touched] == 0) & ~decided[touched]]
    return kept


def nearest_leaders(kept: np.ndarray, low: np.ndarray, high: np.ndarray, cosine: np.ndarray) -> Grouped:
    """Each node that is not kept goes to the one with the highest cosine to it among the kept ones above it, of equal
    ones the first: what stays of a group is what is preferred of it."""
    nodes = np.arange(len(kept))
    led = kept[low] & ~kept[high]
    one, other, to_it = low[led], high[led], cosine[led]
    best = np.where(kept, np.float32(1), np.float32(-np.inf))
    np.maximum.at(best, other, to_it)
    nearest = to_it == best[other]
    leader = np.where(kept, nodes, len(kept))
    np.minimum.at(leader, other[nearest], one[nearest])
    return Grouped(leader, best)


def _neighbours(starts: np.ndarray, neighbours: np.ndarray, of: np.ndarray) -> np.ndarray:
    """The neighbours of some nodes, one after the other."""
    counts = (starts[of + 1] - starts[of]).astype(np.int64)
    ends = np.cumsum(counts)
    if not len(ends) or not ends[-1]:
        return neighbours[:0]
    found: np.ndarray = neighbours[np.arange(ends[-1]) + np.repeat(starts[of] - (ends - counts), counts)]
    return found
