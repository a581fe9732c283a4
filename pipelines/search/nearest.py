"""The rows nearest to a query in one vector column of any precision; candidates of a coarse column are re-ranked
(rescored)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from operators.base.columns import DELETED_AT
from pipelines.filter_index.trust import answered_by_index, hides_vectors
from pipelines.neighbours.nearest import Nearest, best_of
from pipelines.scan.live import live_rows
from pipelines.search.column import SearchColumn
from pipelines.search.scan import findable, row_scores, scan
from pipelines.table.errors import TableError

ROW_ID = "_rowid"
CANDIDATES = 10
"""Candidates per result that are rescored, unless asked for otherwise."""
_WIDENED = 4
"""Searches for k, 2k, 4k, 8k rows, before a filter leaves marked ones out."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How an index is used. None leaves a setting to Lance."""

    nprobes: int | None = None
    """Partitions to look into; with a filter, and where they hold fewer than k rows, the least number of them."""
    refine: int | None = None
    """Candidates that are compared exactly, as a multiple of the rows asked for."""
    exact: bool = False
    """Compare with every row, whatever index there is."""
    mask_deleted: bool = False
    """Whether the index may give deleted rows: `pipelines.index.deleted_entries`."""


PLAIN = Probe()


def nearest(
    dataset: Any,
    column: SearchColumn,
    query_MD: np.ndarray,
    k: int,
    *,
    where: str | None = None,
    probe: Probe = PLAIN,
    rescore: tuple[SearchColumn, np.ndarray] | None = None,
    candidates: int | None = None,
    marked_too: bool = True,
) -> Nearest:
    """The rows of a column nearest to a query.

    `query_MD` is float32, as `SearchColumn.queries` gives it: one vector, or several where rows hold lists; a row's
    score then is the mean over the query's vectors of the best cosine to any of the row's (MaxSim). `rescore`, a finer
    column and the query there, re-ranks `candidates` rows. Without `marked_too`, rows of images that a refresh has
    marked as deleted are left out. Raises `ValueError` or `OSError` as Lance does, for example
    for a filter that is not SQL, and `TableError` where an index gives rows that are not there.
    """
    find = _candidates if marked_too or live_rows(dataset.schema) is None else _live_candidates
    if rescore is not None:
        row_ids = find(dataset, column, query_MD, max(k, candidates or CANDIDATES * k), where, probe)
        return rank_rows(dataset, *rescore, row_ids, k)
    wanted = k
    while True:
        row_ids = find(dataset, column, query_MD, wanted, where, probe)
        found = rank_rows(dataset, column, query_MD, row_ids, k)
        if len(found.row_ids) == k or len(row_ids) < wanted:
            return found
        # Rows with an infinity took places: Lance holds them to be the nearest by `dot`.
        wanted *= 2


def _live_candidates(
    dataset: Any, column: SearchColumn, query_MD: np.ndarray, k: int, where: str | None, probe: Probe
) -> np.ndarray:
    """Row ids of up to k candidates that are not marked as deleted, best first.

    Marked rows are mostly few: more are asked for until enough are left. A filter would look at the mark of every row
    of the table for each query; it is for a query that lies among marked rows.
    """
    wanted = k
    for _ in range(_WIDENED):
        row_ids = _candidates(dataset, column, query_MD, wanted, where, probe)
        marks = take_rows(dataset, row_ids, [DELETED_AT.name])[DELETED_AT.name]
        live = row_ids[marks.is_null().to_numpy()]
        if len(live) >= k or len(row_ids) < wanted:
            found: np.ndarray = live[:k]
            return found
        wanted *= 2
    unmarked = live_rows(dataset.schema)
    return _candidates(dataset, column, query_MD, k, f"{unmarked} AND ({where})" if where else unmarked, probe)


def _candidates(
    dataset: Any, column: SearchColumn, query_MD: np.ndarray, k: int, where: str | None, probe: Probe
) -> np.ndarray:
    """Row ids of up to k candidates, best first."""
    if not column.searched_by_lance:
        return scan(dataset, column, [query_MD], k, where=where)[0].row_ids
    query = column.as_stored(query_MD)
    options: dict[str, Any] = {
        "column": column.name,
        "q": query if column.multivector else query[0],
        "k": k,
        # Lance passes over an index of another metric.
        "metric": column.metric,
        "use_index": not probe.exact and not hides_vectors(dataset, column.name),
    }
    if probe.refine is not None:
        options["refine_factor"] = probe.refine
    if probe.nprobes is None or probe.exact:
        return _row_ids(dataset, options, where, probe)
    if where is None:
        found = _row_ids(dataset, options | {"nprobes": probe.nprobes}, where, probe)
        if len(found) == k:
            return found
    # At least so many: what a filter leaves, or a large k asks for, lies in further partitions too. Without an upper
    # bound Lance looks into far more than recall was measured with, so this is for these alone.
    return _row_ids(dataset, options | {"minimum_nprobes": probe.nprobes}, where, probe)


def _row_ids(dataset: Any, options: dict[str, Any], where: str | None, probe: Probe) -> np.ndarray:
    found = dataset.to_table(
        columns=["_distance"],
        nearest=options,
        # Any filter is a mask of the rows that are there.
        filter=where or ("true" if probe.mask_deleted else None),
        prefilter=True,
        with_row_id=True,
        # An index for filters holds the deleted rows as well.
        use_scalar_index=answered_by_index(dataset, where) and not probe.mask_deleted,
    )
    row_ids: np.ndarray = found[ROW_ID].to_numpy()
    return row_ids


def rank_rows(dataset: Any, column: SearchColumn, query_MD: np.ndarray, row_ids: np.ndarray, k: int) -> Nearest:
    """The rows ranked by their score in the column. Rows that it cannot find, with nothing in it or no direction, are
    left out."""
    rows = take_rows(dataset, row_ids, [column.name])
    present = findable(column, rows[column.name].combine_chunks())
    scores = row_scores(column, [query_MD], rows[column.name].combine_chunks().filter(pa.array(present)))[0]
    order = best_of(scores, k)
    return Nearest(row_ids=row_ids[present][order], scores=scores[order])


def take_rows(dataset: Any, row_ids: np.ndarray, columns: list[str]) -> pa.Table:
    """The rows of these ids, in their order. Raises `TableError` where one is not there."""
    if not len(row_ids):
        return dataset.schema.empty_table().select(columns)
    # The one call of pylance that takes stable row ids; `take` counts rows of the version. It passes over what is gone.
    rows: pa.Table = dataset._take_rows(row_ids.tolist(), columns=columns)
    if len(rows) != len(row_ids):
        raise TableError(
            f"{dataset.uri}: an index gave {len(row_ids) - len(rows)} rows that are not in the table; search with "
            "--exact, which uses none, and build it again with `pixlake index`"
        )
    return rows
