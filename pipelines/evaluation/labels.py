"""What a ranking says about labels: whether neighbours have the query's label, and how high all rows with it are
ranked."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from operators.base.errors import UserError

STEPS = 1 << 14
"""Steps in which scores from -1 to 1 are counted, of 1.2e-4 each: 128 KiB a query."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels of the queries, and the column with those of all rows."""

    column: str
    """A column, or a field of a struct: `region.label`."""
    of_queries: pa.Array
    """(Q,) labels; null where a query has none."""


class AveragePrecision:
    """The average precision (AP) of each query's whole ranking, from rows in any order and number, in bounded memory.

    Rows whose scores fall into one step count as tied: all are ranked where the last of them is, as in scikit-learn's
    `average_precision_score`.
    """

    def __init__(self, queries: int) -> None:
        self._rows = np.zeros((queries, STEPS), np.uint32)
        self._same = np.zeros((queries, STEPS), np.uint32)

    def add(self, query: int, scores: np.ndarray, same: np.ndarray) -> None:
        """Count (N,) scores for one query, and (N,) bool: whether the row has its label."""
        steps = np.rint((np.clip(scores, -1, 1) + 1) * ((STEPS - 1) / 2)).astype(np.int64)
        self._rows[query] += np.bincount(steps, minlength=STEPS).astype(np.uint32)
        self._same[query] += np.bincount(steps[same], minlength=STEPS).astype(np.uint32)

    def values(self) -> np.ndarray:
        """(Q,) float64; NaN for a query whose label no row has."""
        return np.array([_average(rows, same) for rows, same in zip(self._rows, self._same, strict=True)])


def _average(rows: np.ndarray, same: np.ndarray) -> float:
    """The average precision from counts by score, lowest first: the precision at each step that has rows of the label,
    weighted by them."""
    filled = np.flatnonzero(rows)[::-1]
    rows, same = np.cumsum(rows[filled], dtype=np.int64), same[filled].astype(np.int64)
    if not same.sum():
        return float("nan")
    return float((same * np.cumsum(same) / rows).sum() / same.sum())


def majority(labels: Sequence[Hashable]) -> Hashable:
    """The label that most rows have; among labels with as many, the one that comes first, nearest rows first."""
    return Counter(labels).most_common(1)[0][0]


def check_label(table: str, schema: pa.Schema, label: str, option: str = "--label") -> None:
    """Raises `UserError`, in the name of the option, unless a column, or a field of a struct, has that name and holds
    what can be a label."""
    if "`" in label:
        raise UserError(
            f"table {table}: {option} {label}: Lance takes no rows of a column with a backtick in its name; rename it"
        )
    outer, _, inner = label.partition(".")
    kind = schema.field(outer).type if outer in schema.names else None
    if kind is not None and inner:
        kind = kind.field(inner).type if pa.types.is_struct(kind) and kind.get_field_index(inner) >= 0 else None
    if kind is None:
        raise UserError(f"table {table}: {option} {label}: no such column; there: {', '.join(schema.names)}")
    if not (pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise UserError(f"table {table}: {option} {label} is {kind}; labels are strings, integers or booleans")
