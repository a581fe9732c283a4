"""Old and new column compared by rows of the table as queries: what their labels say, and how far the neighbours are
the same."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from pipelines.evaluation.labels import Labels
from pipelines.evaluation.measure import TIMED_K, right_labels, scan_column, wanted_ks
from pipelines.evaluation.queries import as_queries, has_vectors
from pipelines.gate.rows import rows_with, sample_rows
from pipelines.neighbours.recall import recall
from pipelines.search.column import SearchColumn


@dataclass(frozen=True, kw_only=True)
class SampleMeasures:
    """What rows that have both vectors say, each left out of its own results, as is the rest of its image. Only such
    rows are compared with: so the two columns answer the same question however much of the new one is filled."""

    queries: int
    k: int
    """Neighbours that are looked at: 10, or as many as there are."""
    overlap: float
    """Mean share of the k nearest by the old column that are among the k nearest by the new one."""
    accuracy: tuple[np.ndarray, np.ndarray]
    """(Q,) float64 of the old and of the new column: 1 where most of the k nearest have the query's label, else 0; NaN
    for a query without. Empty without labels."""
    precision: tuple[np.ndarray, np.ndarray]
    """The average precision of all rows ranked, likewise."""


def measure_sample(
    dataset: Any, old: SearchColumn, new: SearchColumn, label: str | None, *, count: int, seed: int
) -> SampleMeasures | None:
    """Compare the columns by up to `count` rows. Each column is read through once. None where fewer than two images
    have both vectors."""
    where = rows_with(dataset.schema, [old.name, new.name])
    rows = sample_rows(dataset, [old.name, new.name, *([label] if label else [])], where, count, seed)
    rows = rows.filter(pc.and_(has_vectors(rows[old.name]), has_vectors(rows[new.name])))
    if not len(rows):
        return None
    labels = Labels(column=label, of_queries=rows[label].combine_chunks()) if label else None
    queries = [as_queries(dataset, rows, column.name) for column in (old, new)]
    scans = [scan_column(dataset, column, own, labels, where) for column, own in zip((old, new), queries, strict=True)]
    ks = [k for k in wanted_ks(min(scan.rows for scan in scans), queries[0]) if k <= TIMED_K]
    if not ks:
        return None
    k = max(ks)
    near_old, near_new = ([best.row_ids[:k] for best in scan.best] for scan in scans)
    none = np.zeros(0)
    return SampleMeasures(
        queries=len(rows),
        k=k,
        overlap=recall(near_new, scans[0].best, k),
        accuracy=(_right(dataset, near_old, labels), _right(dataset, near_new, labels)) if labels else (none, none),
        precision=(scans[0].average_precisions, scans[1].average_precisions),
    )


def _right(dataset: Any, near: list[np.ndarray], labels: Labels) -> np.ndarray:
    right: np.ndarray = right_labels(dataset, near, labels)[:, 1]
    return right
