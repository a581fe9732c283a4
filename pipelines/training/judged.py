"""What a head is worth on rows that it has not seen: beside the full vectors, a PCA and their first numbers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from operators.base.errors import UserError
from operators.head import apply_head
from operators.normalize import l2_normalize
from operators.pca import project
from operators.vectors.exact_sums import GRID_BITS, ExactSums
from operators.vectors.pca_fit import FittedPca, fit_pca
from pipelines.judging.intervals import MeanInterval, mean_interval
from pipelines.judging.labelled import cosines_of, label_scores, without_own
from pipelines.judging.representations import K, recall_shares
from pipelines.training.rows import TrainingRows

JUDGED = 4096
"""Rows that are asked about each other, at most."""
_FITTED = 65_536
"""Rows that the PCA is fitted on, at most."""


@dataclass(frozen=True, kw_only=True)
class JudgedVectors:
    """One way to make vectors, on the rows that were held out; each value (M,) float64, NaN where it has none."""

    way: str
    """`full`, `head`, `pca` or `first`."""
    dim: int
    recall: np.ndarray
    """Share of a row's ten nearest others by the full vectors that it finds."""
    right: np.ndarray | None
    """Whether the nearest other row has its label; None without labels."""
    precision: np.ndarray | None
    """Average precision of the ranking of all others by label."""
    by_text: np.ndarray | None
    """Whether a row is among the ten nearest of its text's vector; None without captions."""


def judge_head(
    rows: TrainingRows, fitted: np.ndarray, tested: np.ndarray, head: Mapping[str, np.ndarray], dims: tuple[int, ...]
) -> Iterator[JudgedVectors]:
    """The full vectors, then for each length the head, a PCA of the rows at `fitted`, where they are enough, and the
    first numbers; on the rows at `tested`, each asked about all others that are not of its group."""
    vectors, groups = rows.vectors(tested), rows.own[tested]
    texts = None if rows.captions is None else rows.texts(tested)
    labels = None if rows.labels is None else rows.labels[tested]
    truth = without_own(cosines_of(vectors), slice(None), groups)

    def judged(way: str, dim: int, make: Callable[[np.ndarray], np.ndarray]) -> JudgedVectors:
        unit = l2_normalize(make(vectors)[:, :dim])
        # What nothing is left of is near to nobody.
        scores = np.nan_to_num(unit @ unit.T, nan=-1.0)
        by_label = None if labels is None else label_scores(lambda part: scores[part], labels, groups, (1,))
        found = without_own(lambda part: scores[part], slice(None), groups)
        return JudgedVectors(
            way=way,
            dim=dim,
            recall=recall_shares(found, truth),
            right=None if by_label is None else by_label.right[1],
            precision=None if by_label is None else by_label.average_precision,
            by_text=None if texts is None else _found_by_text(l2_normalize(make(texts)[:, :dim]), unit),
        )

    yield judged("full", vectors.shape[1], lambda full: full)
    pca = _pca(rows.vectors(np.random.default_rng(0).permutation(fitted)[:_FITTED]), dims[0])
    for dim in dims:
        yield judged("head", dim, lambda full: apply_head(full, head))
        if pca is not None and dim <= len(pca.components):
            yield judged("pca", dim, partial(project, mean_D=pca.mean, components_KD=pca.components))
        if dim < vectors.shape[1]:
            yield judged("first", dim, lambda full: full)


def _pca(vectors_ND: np.ndarray, dim: int) -> FittedPca | None:
    """As many components as there can be, up to `dim`; None of vectors that no PCA can be fitted on."""
    sums = ExactSums(vectors_ND.shape[1], GRID_BITS["float32"])
    try:
        sums.add(vectors_ND)
        return fit_pca(sums, min(dim, sums.rows - 1, sums.dim), whiten=False)
    except UserError:
        return None


def _found_by_text(texts_MD: np.ndarray, units_MD: np.ndarray) -> np.ndarray:
    scores = np.nan_to_num(texts_MD @ units_MD.T, nan=-1.0)
    found: np.ndarray = ((scores > scores.diagonal()[:, None]).sum(axis=1) < K).astype(np.float64)
    return found


def quick_score(rows: TrainingRows, held: np.ndarray, made_MK: np.ndarray, full_MD: np.ndarray) -> dict[str, float]:
    """`held_out_1nn`, or without labels `held_out_recall`, of vectors made of the full ones of the rows at `held`."""
    own, scores = rows.own[held], cosines_of(made_MK)
    if rows.labels is not None:
        right = label_scores(scores, rows.labels[held], own, (1,), ranked=False).right[1]
        return {"held_out_1nn": _known_mean(right)}
    truth = without_own(cosines_of(full_MD), slice(None), own)
    return {"held_out_recall": _known_mean(recall_shares(without_own(scores, slice(None), own), truth))}


def _known_mean(values: np.ndarray) -> float:
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else 0.0


def gain(head: np.ndarray, other: np.ndarray, groups_M: np.ndarray) -> MeanInterval | None:
    """How much larger the head's values are than another way's, on average, with its 95 % interval by groups."""
    both = np.isfinite(head) & np.isfinite(other)
    return mean_interval((head - other)[both], groups_M[both])
