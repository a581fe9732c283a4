"""Rows of a table that stand for all of it, drawn from those that are there and that a condition chooses."""

from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.scan.live import live_rows
from pipelines.space.samples import TAKE_ROWS, mixed


def draw_row_ids(dataset: Any, count: int, *, where: str | None = None, seed: int = 0) -> tuple[np.ndarray, int]:
    """Lance's `_rowid` of up to `count` rows, (M,) uint64 in the table's order, and how many there are to draw from.

    Which rows is decided by a hash of their ids and the seed, so a larger sample holds every smaller one. Rows that are
    marked as deleted are left out, and those for which `where`, SQL from `row_filter`, does not hold. Only ids are
    read, and at most twice `count` of them held.
    """
    conditions = [f"({each})" for each in (live_rows(dataset.schema), where) if each is not None]
    scanner = dataset.scanner(
        columns=[], with_row_id=True, filter=" AND ".join(conditions) or None, use_scalar_index=False
    )
    held, num_rows = np.zeros(0, np.uint64), 0
    for batch in scanner.to_batches():
        num_rows += batch.num_rows
        held = _smallest(np.concatenate([held, batch["_rowid"].to_numpy()]), count, seed)
    return np.sort(held), num_rows


def _smallest(row_ids: np.ndarray, count: int, seed: int) -> np.ndarray:
    if len(row_ids) <= count:
        return row_ids
    hashes = mixed(row_ids ^ mixed(np.array([seed], np.uint64)))
    return row_ids[np.argpartition(hashes, count - 1)[:count]]


def take_columns(dataset: Any, row_ids: np.ndarray, columns: list[str]) -> pa.Table:
    """The rows of these ids, in their order; those that have gone meanwhile are left out."""
    if not len(row_ids):
        return dataset.scanner(columns=columns, limit=0).to_table()
    parts = [
        dataset._take_rows(row_ids[start : start + TAKE_ROWS].tolist(), columns=columns)
        for start in range(0, len(row_ids), TAKE_ROWS)
    ]
    return pa.concat_tables(parts)
