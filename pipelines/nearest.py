"""The rows nearest to a query in one vector column, of whatever precision; candidates of a coarse one rescored."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from operators.binary_codes import BinaryCodec
from operators.codecs import FloatCodec
from pipelines.filter_trust import answered_by_index
from pipelines.scan_nearest import Nearest, best_of, row_scores, scan
from pipelines.search_columns import SearchColumn

ROW_ID = "_rowid"
CANDIDATES = 10
"""Times k that are rescored unless asked for otherwise."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How an index is used. What is None is left to Lance."""

    nprobes: int | None = None
    """Partitions that are looked into; with a filter, and where they hold fewer than k rows, at least so many."""
    refine: int | None = None
    """So many times as many candidates as asked for are compared exactly."""
    exact: bool = False
    """Compare with every row, whatever index there is."""
    metric: str = "cosine"
    """The index's own: another one would not use it."""


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
) -> Nearest:
    """The rows of a column nearest to a query.

    `query_MD` is float32, as `SearchColumn.queries` gives it: one vector, or several where rows hold lists; a row's
    score then is the mean over them of the best cosine to any of its vectors (MaxSim). `rescore`, a finer column and
    the query there, orders `candidates` rows anew. Raises `ValueError` or `OSError` as Lance does, for a filter that is
    not SQL among others.
    """
    if rescore is None:
        row_ids = _candidates(dataset, column, query_MD, k, where, probe)
        return rank_rows(dataset, column, query_MD, row_ids, k)
    row_ids = _candidates(dataset, column, query_MD, max(k, candidates or CANDIDATES * k), where, probe)
    return rank_rows(dataset, *rescore, row_ids, k)


def _candidates(
    dataset: Any, column: SearchColumn, query_MD: np.ndarray, k: int, where: str | None, probe: Probe
) -> np.ndarray:
    """Up to k row ids, best first."""
    if not searched_by_lance(column):
        return scan(dataset, column, [query_MD], k, where=where)[0].row_ids
    binary = isinstance(column.codec, BinaryCodec)
    query = column.codec.encode(query_MD) if binary else query_MD
    options: dict[str, Any] = {
        "column": column.name,
        "q": query if column.multivector else query[0],
        "k": k,
        "metric": "hamming" if binary else probe.metric,
        "use_index": not probe.exact,
    }
    if probe.refine is not None:
        options["refine_factor"] = probe.refine
    if probe.nprobes is None or probe.exact:
        return _row_ids(dataset, options, where)
    if where is None:
        found = _row_ids(dataset, options | {"nprobes": probe.nprobes}, where)
        if len(found) == k:
            return found
    # At least so many: what a filter leaves, or a large k asks for, lies in further partitions too. Without an upper
    # bound Lance looks into far more than recall was measured with, so this is for these alone.
    return _row_ids(dataset, options | {"minimum_nprobes": probe.nprobes}, where)


def _row_ids(dataset: Any, options: dict[str, Any], where: str | None) -> np.ndarray:
    found = dataset.to_table(
        columns=["_distance"],
        nearest=options,
        filter=where,
        prefilter=True,
        with_row_id=True,
        use_scalar_index=answered_by_index(dataset, where),
    )
    row_ids: np.ndarray = found[ROW_ID].to_numpy()
    return row_ids


def searched_by_lance(column: SearchColumn) -> bool:
    """Whether Lance compares the column, by an index where there is one; the rest is read through here."""
    return isinstance(column.codec, FloatCodec) or (isinstance(column.codec, BinaryCodec) and not column.multivector)


def rank_rows(dataset: Any, column: SearchColumn, query_MD: np.ndarray, row_ids: np.ndarray, k: int) -> Nearest:
    """The rows by their score in the column; those that have nothing in it are left out."""
    rows = take_rows(dataset, row_ids, [column.name])
    present = rows[column.name].is_valid().to_numpy()
    scores = row_scores(column, [query_MD], rows[column.name].combine_chunks().filter(pa.array(present)))[0]
    order = best_of(scores, k)
    return Nearest(row_ids=row_ids[present][order], scores=scores[order])


def take_rows(dataset: Any, row_ids: np.ndarray, columns: list[str]) -> pa.Table:
    """The rows of these ids, in their order."""
    if not len(row_ids):
        return dataset.schema.empty_table().select(columns)
    # The one call of pylance that takes stable row ids; `take` counts rows of the version.
    return dataset._take_rows(row_ids.tolist(), columns=columns)
