"""What a change of an image does to its vector: whether it still finds its original, and whom it now lies near."""

from dataclasses import dataclass

import numpy as np

from pipelines.judging.labelled import parts

NEIGHBOURS = 10


@dataclass(frozen=True, kw_only=True)
class ChangeEffect:
    """One value a changed image, (Q,) float64."""

    found: np.ndarray
    """1 where the original is nearest of all images, or one of its group is, else 0."""
    cosine: np.ndarray
    """To the original."""
    neighbours_changed: np.ndarray
    """Share of the original's ten nearest others that are not among the changed image's ten."""


def effect_of_change(
    changed_QD: np.ndarray, unit_ND: np.ndarray, originals_Q: np.ndarray, groups_N: np.ndarray
) -> ChangeEffect:
    """Compare vectors of changed images, (Q, D) of unit length, with those of all images; `originals_Q` are the rows of
    their originals."""
    found, changed = np.empty(len(originals_Q)), np.empty(len(originals_Q))
    k = min(NEIGHBOURS, len(unit_ND) - 1)
    for part in parts(len(originals_Q)):
        own = originals_Q[part]
        now, before = changed_QD[part] @ unit_ND.T, unit_ND[own] @ unit_ND.T
        same = groups_N[own][:, None] == groups_N[None]
        best = now.max(axis=1)
        found[part] = np.where(same, now, -np.inf).max(axis=1) >= best - 1e-6
        near, were = (_near(np.where(same, -np.inf, each), k) for each in (now, before))
        changed[part] = [1 - len(np.intersect1d(*pair)) / max(k, 1) for pair in zip(near, were, strict=True)]
    cosine = (changed_QD * unit_ND[originals_Q]).sum(axis=1).astype(float)
    return ChangeEffect(found=found, cosine=cosine, neighbours_changed=changed)


def _near(scores_QN: np.ndarray, k: int) -> np.ndarray:
    return np.argpartition(-scores_QN, min(k, scores_QN.shape[1] - 1), axis=1)[:, :k]
