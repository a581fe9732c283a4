"""What vectors say of labels: by their neighbours, by the ranking of all others, and by a linear probe."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

KS = (1, 10)
FOLDS = 5
PROBE_C = 0.01
"""Inverse strength of the probe's L2 penalty, on features of unit variance."""
_QUERIES_AT_ONCE = 512

ScoresOf = Callable[[slice], np.ndarray]
"""From a slice of the N images to their scores, (Q, N) float32, with all N; the nearer the larger."""


@dataclass(frozen=True, kw_only=True)
class LabelScores:
    """One value an image, (N,) float64; NaN for an image that could not be judged."""

    right: dict[int, np.ndarray]
    """k -> 1 where most of the k nearest others have its label, else 0; of labels with as many the nearest's counts."""
    average_precision: np.ndarray
    """Of the ranking of all others by their score; NaN where no other one has its label. As scikit-learn's
    `average_precision_score`: images with equal scores are ranked where the last of them is."""


def groups_of(*keys: Sequence[object]) -> np.ndarray:
    """(N,) int64: the number of each image's group. Images are of one group where any of the keys is the same, or where
    other images join them; None is no key."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(keys[0])
    first: dict[tuple[int, object], int] = {}
    joined = [
        (at, first.setdefault((number, key), at))
        for number, of_images in enumerate(keys)
        for at, key in enumerate(of_images)
        if key is not None
    ]
    ends = np.array(joined, np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(count, count))
    groups: np.ndarray = connected_components(graph, directed=False)[1].astype(np.int64)
    return groups


def cosines_of(vectors_ND: np.ndarray) -> ScoresOf:
    """The cosines of (N, D) float32 with each other."""
    lengths = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    unit = vectors_ND / np.where(lengths > 0, lengths, 1)
    return lambda part: unit[part] @ unit.T


def parts(count: int) -> Iterator[slice]:
    """Slices in which queries are compared with all images: their scores bound the memory."""
    for start in range(0, count, _QUERIES_AT_ONCE):
        yield slice(start, min(start + _QUERIES_AT_ONCE, count))


def without_own(scores: ScoresOf, part: slice, groups_N: np.ndarray) -> np.ndarray:
    """(Q, N) scores of a slice, minus infinity for all images of a query's own group, itself among them."""
    found = np.array(scores(part), np.float32)
    found[groups_N[part][:, None] == groups_N[None]] = -np.inf
    return found


def label_scores(
    scores: ScoresOf, labels_N: np.ndarray, groups_N: np.ndarray, ks: Sequence[int] = KS, *, ranked: bool = True
) -> LabelScores:
    """Judge each image by all others that are not of its group. `labels_N` are (N,) int64; `ranked`: whether average
    precisions are worked out, which takes a sort of all."""
    count = len(labels_N)
    right = {k: np.full(count, np.nan) for k in ks}
    precision = np.full(count, np.nan)
    for part in parts(count):
        found = without_own(scores, part, groups_N)
        near = _nearest(found, min(max(ks), count))
        there = np.take_along_axis(found, near, 1) > -np.inf
        labels = np.where(there, labels_N[near], -1)
        for k in ks:
            right[k][part] = np.where(there[:, 0], _majority(labels[:, :k]) == labels_N[part], np.nan)
        if ranked:
            precision[part] = _average_precisions(found, labels_N[None] == labels_N[part][:, None])
    return LabelScores(right=right, average_precision=precision)


def _nearest(scores_QN: np.ndarray, k: int) -> np.ndarray:
    """(Q, k) int64: the nearest, the nearest first; of equal ones those that come first."""
    order: np.ndarray = np.argsort(-scores_QN, axis=1, kind="stable")
    return order[:, :k]


def _majority(labels_QK: np.ndarray) -> np.ndarray:
    """(Q,): the label that most have; of labels with as many the first. -1 is no label."""
    same = (labels_QK[:, :, None] == labels_QK[:, None]) & (labels_QK[:, :, None] >= 0)
    most: np.ndarray = labels_QK[np.arange(len(labels_QK)), same.sum(axis=2).argmax(axis=1)]
    return most


def _average_precisions(scores_QN: np.ndarray, same_QN: np.ndarray) -> np.ndarray:
    order = np.argsort(-scores_QN, axis=1)
    ranked = np.take_along_axis(scores_QN, order, 1)
    right = np.take_along_axis(same_QN, order, 1) & (ranked > -np.inf)
    ranks = np.arange(1, ranked.shape[1] + 1)
    precision = np.cumsum(right, axis=1) / ranks
    # Of equal scores the last one's precision holds for all.
    last = np.ones(ranked.shape, bool)
    last[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
    ends = np.where(last, ranks - 1, len(ranks) - 1)
    ends = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    wanted = right.sum(axis=1)
    sums = (right * np.take_along_axis(precision, ends, 1)).sum(axis=1)
    means: np.ndarray = np.divide(sums, wanted, out=np.full(len(wanted), np.nan), where=wanted > 0)
    return means


def probe_right(vectors_ND: np.ndarray, labels_N: np.ndarray, groups_N: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """(N,) float64: whether a linear probe that has seen no image of its group tells the image's label; NaN for all
    where the images cannot be split.

    scikit-learn's logistic regression on features of unit variance, in five folds that keep groups together
    (`StratifiedGroupKFold`).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.preprocessing import StandardScaler

    right = np.full(len(labels_N), np.nan)
    counts = np.bincount(labels_N)
    folds = min(FOLDS, len(np.unique(groups_N)), int(counts.max(initial=0)))
    if folds < 2 or (counts > 0).sum() < 2:
        return right
    with warnings.catch_warnings():
        # A class with fewer images than folds is in some of them only; a fit that ends early is good enough.
        warnings.simplefilter("ignore")
        split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(vectors_ND, labels_N, groups_N)
        for seen, held_out in split:
            if len(np.unique(labels_N[seen])) < 2 or not len(held_out):
                continue
            scaler = StandardScaler().fit(vectors_ND[seen])
            scaled, others = scaler.transform(vectors_ND[seen]), scaler.transform(vectors_ND[held_out])
            if len(seen) < scaled.shape[1]:
                # In the directions of the images alone the fit is the same one, and as much faster as they are fewer.
                axes = np.linalg.svd(scaled, full_matrices=False)[2]
                scaled, others = scaled @ axes.T, others @ axes.T
            probe = LogisticRegression(C=PROBE_C, max_iter=200, tol=1e-3).fit(scaled, labels_N[seen])
            right[held_out] = probe.predict(others) == labels_N[held_out]
    return right
