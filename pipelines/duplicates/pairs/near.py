"""Pairs of vectors with a cosine at or above a threshold, by comparing all of a cell with all."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from operators.base.errors import UserError
from pipelines.duplicates.pairs.cells import unit_rows
from pipelines.space.samples import mixed

PAIR = np.dtype([("a", "<u4"), ("b", "<u4"), ("cosine", "<f4")])
"""Two rows by their numbers, a < b, and their cosine."""
MOST_PAIRS = 100_000_000
"""Pairs of one piece of work, 1.2 GB. What has more is one heap of images that are all alike."""
_QUERIES, _BASE = 2048, 8192
"""Scores that are held at once: 64 MiB."""
_ROUGH = 1e-5
"""By how much the product of two unit vectors in float32, summed in any order, may differ from what decides."""
_DECIDE_ROWS = 16_384


class TooManyPairsError(UserError):
    """At this threshold nearly everything is a duplicate of everything."""


class CellPairs(NamedTuple):
    """What is alike in a cell."""

    pairs: np.ndarray
    """`PAIR` records of different vectors."""
    copies: np.ndarray
    """(K, 2) uint32: rows with the very vector of an earlier row, and that row. They are in no pair."""


def cell_pairs(
    rows: np.ndarray, home: np.ndarray, stored: np.ndarray, threshold: float, images: np.ndarray | None = None
) -> CellPairs:
    """Pairs among those at home in a cell, and between them and visitors.

    `rows` (N,) numbers, `home` (N,) bool, `stored` (N, D) as they lie in the table, none of them zero. Vectors with the
    same numbers are one: what compares all with all must not meet a hundred thousand blank pages. Whether a pair counts
    is decided by the float64 sum of its stored vectors, the same however rows were cut into cells. With `images` (N,)
    uint64, not 0, regions of one image are in no pair; a vector that regions of several images have is of none of
    them. Raises `TooManyPairsError`.
    """
    first = _first_of_each(stored, home)
    same = (first != np.arange(len(rows))) & home
    copies = np.stack([rows[same], rows[first[same]]], axis=1).astype(np.uint32)
    alone = first == np.arange(len(rows))
    if images is not None:
        images = images.copy()
        images[first[images != images[first]]] = 0
        images = images[alone]
    rows, home, stored = rows[alone], home[alone], stored[alone]
    units, found, count = unit_rows(stored), [np.zeros(0, PAIR)], 0
    at_home, visiting = np.flatnonzero(home), np.flatnonzero(~home)
    for left, right in _above(units, at_home, visiting, threshold - _ROUGH):
        if images is not None:
            across = (images[left] != images[right]) | (images[left] == 0)
            left, right = left[across], right[across]
        cosines = _decided(units, left, right)
        near = cosines >= threshold
        pairs = np.zeros(int(near.sum()), PAIR)
        one, other = rows[left[near]], rows[right[near]]
        pairs["a"], pairs["b"], pairs["cosine"] = np.minimum(one, other), np.maximum(one, other), cosines[near]
        found.append(pairs)
        count += len(pairs)
        if count > MOST_PAIRS:
            raise TooManyPairsError(
                f"threshold {threshold}: more than {MOST_PAIRS:,} pairs among {len(rows):,} images that are alike; "
                "raise --threshold, or leave that heap of images out with --where"
            )
    return CellPairs(np.concatenate(found), copies)


def _above(
    units: np.ndarray, at_home: np.ndarray, visiting: np.ndarray, threshold: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of pairs whose rough cosine reaches the threshold, block by block; each pair once."""
    for start in range(0, len(at_home), _BASE):
        base = at_home[start : start + _BASE]
        base_DN = units[base].T
        # Those at home before this block have met it as queries of theirs.
        for queries in (at_home[start:], visiting):
            for first in range(0, len(queries), _QUERIES):
                some = queries[first : first + _QUERIES]
                hits = np.flatnonzero((units[some] @ base_DN).ravel() >= threshold)
                left, right = some[hits // len(base)], base[hits % len(base)]
                if queries is not visiting:
                    once = left > right
                    left, right = left[once], right[once]
                if len(left):
                    yield left, right


def _decided(units: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(P,) float64 cosines, at most 1."""
    cosines = np.empty(len(left))
    for first in range(0, len(left), _DECIDE_ROWS):
        some = slice(first, first + _DECIDE_ROWS)
        one, other = units[left[some]].astype(np.float64), units[right[some]].astype(np.float64)
        squares = np.einsum("nd,nd->n", one, one) * np.einsum("nd,nd->n", other, other)
        cosines[some] = np.einsum("nd,nd->n", one, other) / np.sqrt(squares)
    return np.minimum(cosines, 1.0)


def _first_of_each(stored: np.ndarray, home: np.ndarray) -> np.ndarray:
    """(N,) int64: the first row with the same numbers among those at home, or among visitors."""
    words = _words(stored)
    hashes = _hashes(words) ^ np.where(home, np.uint64(0), np.uint64(1 << 63))
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    firsts = np.asarray(first[inverse.ravel()])
    later = np.flatnonzero(firsts != np.arange(len(firsts)))
    for start in range(0, len(later), _DECIDE_ROWS):
        some = later[start : start + _DECIDE_ROWS]
        other = (words[some] != words[firsts[some]]).any(axis=1) | (home[some] != home[firsts[some]])
        firsts[some[other]] = some[other]
    return firsts


def _words(stored: np.ndarray) -> np.ndarray:
    """The bits of (N, D) vectors as unsigned integers, as few as they can be."""
    size = stored.shape[1] * stored.itemsize
    return np.ascontiguousarray(stored).view(np.uint64 if size % 8 == 0 else np.uint16)


def _hashes(words: np.ndarray) -> np.ndarray:
    """(N,) uint64 of (N, W) words: multilinear hashing, the sum of the words each times an odd number of its place."""
    factors = mixed(np.arange(words.shape[1], dtype=np.uint64)) | np.uint64(1)
    hashes: np.ndarray = words.astype(np.uint64, copy=False) @ factors
    return hashes
