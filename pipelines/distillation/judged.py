"""What a student is worth on images that it has not seen, beside its teacher."""

from dataclasses import dataclass

import numpy as np

from operators.normalize import l2_normalize
from pipelines.judging.labelled import cosines_of, label_scores, without_own
from pipelines.judging.representations import recall_shares

JUDGED = 4096
"""Images that are asked about each other, at most."""


@dataclass(frozen=True, kw_only=True)
class StudentShares:
    """Vectors of one length, measured on M images; each value (M,) float64, NaN where an image has none."""

    dim: int
    recall: np.ndarray
    """Share of an image's ten nearest others by the teacher that it finds."""
    right: np.ndarray | None
    """Whether the nearest other one has its label; None without labels."""
    across: np.ndarray | None
    """Share of an image's ten nearest others by the teacher that the teacher's own vector of the image finds among the
    student's vectors; None where they are of different spaces."""


def judge_student(
    teacher_MD: np.ndarray,
    student_MK: np.ndarray,
    dims: tuple[int, ...],
    groups_M: np.ndarray,
    labels_M: np.ndarray | None,
    *,
    across: bool,
) -> tuple[StudentShares, list[StudentShares]]:
    """(the teacher, the student at each length), of vectors of the same M images, (M, D) and (M, K) float32. An image
    is asked about all others that are not of its group. A label below 0 is none."""
    truth = without_own(cosines_of(teacher_MD), slice(None), groups_M)
    whole = teacher_MD.shape[1]
    teacher = StudentShares(
        dim=whole, recall=recall_shares(truth, truth), right=_right(truth, labels_M, groups_M), across=None
    )
    students = []
    for dim in dims:
        # What nothing is left of is near to nobody.
        unit = np.nan_to_num(l2_normalize(student_MK[:, :dim]))
        found = without_own(cosines_of(unit), slice(None), groups_M)
        crossed = None
        if across and dim == whole:
            products = l2_normalize(teacher_MD) @ unit.T
            crossed = recall_shares(without_own(products.__getitem__, slice(None), groups_M), truth)
        students.append(
            StudentShares(
                dim=dim, recall=recall_shares(found, truth), right=_right(found, labels_M, groups_M), across=crossed
            )
        )
    return teacher, students


def _right(scores_MM: np.ndarray, labels_M: np.ndarray | None, groups_M: np.ndarray) -> np.ndarray | None:
    if labels_M is None:
        return None
    # An image without a label is no neighbour either: it cannot vote.
    there = np.flatnonzero(labels_M >= 0)
    right = np.full(len(labels_M), np.nan)
    within = label_scores(
        lambda part: scores_MM[there[part]][:, there], labels_M[there], groups_M[there], (1,), ranked=False
    )
    right[there] = within.right[1]
    return right
