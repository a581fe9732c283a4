"""How well a ranking of images answers a query whose right answers are known."""

from collections.abc import Collection, Sequence

import numpy as np

K = 10


def recall_at(found: Sequence[str], right: Collection[str], k: int = K) -> float:
    """recall@k: the share of the right images that are among the first k found, or of k where more are right."""
    return len(set(found[:k]) & set(right)) / min(k, len(set(right)))


def ndcg_at(found: Sequence[str], right: Collection[str], k: int = K) -> float:
    """nDCG@k with gains of 1 for right images and 0 for others: each right one counts 1 / log2(1 + its rank), held
    against right ones on the first ranks (Järvelin, Kekäläinen 2002)."""
    wanted = set(right)
    gains = np.array([image in wanted for image in found[:k]], float)
    best = _discounts(min(k, len(wanted))).sum()
    return float((gains * _discounts(len(gains))).sum() / best)


def _discounts(count: int) -> np.ndarray:
    discounts: np.ndarray = 1 / np.log2(np.arange(count) + 2)
    return discounts
