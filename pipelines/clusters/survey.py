"""What the clusters of a table are like, from the columns alone: sizes, cohesion, which rows are nearest their centre
and which are far from any."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from operators.base.columns import ID, REGION_ID, URI
from pipelines.scan.live import live_rows
from pipelines.scan.plain import plain_scan


@dataclass(frozen=True, kw_only=True)
class ClusterSurvey:
    """Figures by cluster (K,), and rows as tables of `id` (or `region_id`), `uri`, `cluster` and `cosine`."""

    sizes: np.ndarray
    """(K,) int64: rows that are not marked as deleted."""
    cohesions: np.ndarray
    """(K,) float64: mean cosine of the rows to their centre; NaN where a cluster has none."""
    least: np.ndarray
    """(K,) float32: the least of these cosines; NaN likewise."""
    unassigned: int
    """Rows without a cluster."""
    changed: int
    """Rows with a cluster that there is not, or without its cosine: another tool has written there. They count nowhere
    else."""
    nearest: pa.Table
    """Rows nearest their centre, by cluster, the nearest first."""
    farthest: pa.Table
    """Rows of the whole table farthest from their centre, the farthest first."""


def survey_clusters(
    dataset: Any, cluster: str, cosine: str, groups: int, *, representatives: int, outliers: int
) -> ClusterSurvey:
    """One pass over the two columns, ids and URIs; memory is that of a batch and of the rows that are kept."""
    label = REGION_ID.name if REGION_ID.name in dataset.schema.names else ID.name
    sizes, sums = np.zeros(groups, np.int64), np.zeros(groups)
    least = np.full(groups, np.inf, np.float32)
    nearest, farthest = Best(groups, representatives), Best(1, outliers)
    unassigned = changed = 0
    for batch in plain_scan(dataset, [label, URI.name, cluster, cosine], live_rows(dataset.schema)):
        rows = pa.table(batch).select([label, URI.name, cluster, cosine]).rename_columns(["id", *SURVEYED])
        given = rows.filter(rows["cluster"].is_valid())
        unassigned += rows.num_rows - given.num_rows
        numbers, unfounded = given["cluster"].to_numpy(), np.isnan(given["cosine"].to_numpy())
        own = (numbers >= 0) & (numbers < groups) & ~unfounded
        changed += int((~own).sum())
        given = given.filter(pa.array(own))
        of, cosines = given["cluster"].to_numpy(), given["cosine"].to_numpy()
        sizes += np.bincount(of, minlength=groups)
        sums += np.bincount(of, weights=cosines, minlength=groups)
        np.minimum.at(least, of, cosines)
        nearest.add(of, cosines, given)
        farthest.add(np.zeros(len(of), np.int64), -cosines, given)
    with np.errstate(invalid="ignore"):
        cohesions = sums / sizes
    return ClusterSurvey(
        sizes=sizes,
        cohesions=cohesions,
        least=np.where(sizes > 0, least, np.nan),
        unassigned=unassigned,
        changed=changed,
        nearest=nearest.rows,
        farthest=farthest.rows,
    )


SURVEYED = ("uri", "cluster", "cosine")
_KEPT = pa.schema([("id", pa.string()), ("uri", pa.string()), ("cluster", pa.int32()), ("cosine", pa.float32())])


class Best:
    """Of each of some groups the rows with the largest scores, from rows that come in pieces; of equal ones those that
    came first."""

    def __init__(self, groups: int, count: int) -> None:
        self.count, self.rows = count, _KEPT.empty_table()
        self._groups, self._scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
        self._floor = np.full(groups, -np.inf, np.float32)
        """The score that a row of each group must beat."""

    def add(self, groups: np.ndarray, scores: np.ndarray, rows: pa.Table) -> None:
        """`groups` (N,) of int and `scores` (N,) float32 of N rows."""
        better = scores > self._floor[groups]
        if not self.count or not better.any():
            return
        rows = pa.concat_tables([self.rows, rows.filter(pa.array(better)).cast(_KEPT)])
        groups, scores = np.append(self._groups, groups[better]), np.append(self._scores, scores[better])
        order = np.lexsort((-scores, groups))
        ordered = groups[order]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
        kept = order[rank < self.count]
        last = order[rank == self.count - 1]
        self._floor[groups[last]] = scores[last]
        self.rows, self._groups, self._scores = rows.take(pa.array(kept)).combine_chunks(), groups[kept], scores[kept]
