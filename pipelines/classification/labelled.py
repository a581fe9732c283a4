"""Rows of a table whose label is known, as many as fit into memory, and which of them belong together."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ID, REGION_ID, SHA256, URI
from operators.normalize import l2_normalize
from pipelines.evaluation.queries import has_vectors
from pipelines.scan.live import live_rows
from pipelines.scan.plain import plain_scan
from pipelines.scan.sql import sql_column
from pipelines.space.flat import flat_numpy
from pipelines.space.samples import TAKE_ROWS, mixed


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """N rows with a vector and a label."""

    stored: np.ndarray
    """(N, D) as they are stored."""
    classes: tuple[str, ...]
    """The labels that occur, in order."""
    labels: np.ndarray
    """(N,) int64: index of each row's label among the classes."""
    groups: np.ndarray
    """(N,) int64: rows of one number belong together, and never stand on two sides of a split."""
    ids: pa.Array
    """(N,) string: `region_id` in a table with a row per region."""
    uris: pa.Array
    whole: int
    """Rows of the table that have a label, drawn or not."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def units(self) -> np.ndarray:
        """(N, D) float32 of unit length."""
        return l2_normalize(self.stored.astype(np.float32))


def draw_labelled(dataset: Any, column: str, label: str, group: str | None, *, rows: int, seed: int) -> LabelledRows:
    """Up to `rows` rows, drawn by a hash of their row id, that have a label and a vector with a direction, and are not
    marked as deleted. A field of a struct is named `region.label`.

    Rows with the same bytes (sha256) or the same value of `group` belong together.
    """
    has = f"{'.'.join(map(sql_column, label.split('.')))} IS NOT NULL"
    row_ids, whole = draw_row_ids(dataset, has, rows, seed)
    name = REGION_ID.name if REGION_ID.name in dataset.schema.names else ID.name
    beside = [each for each in (SHA256.name, group) if each and each.partition(".")[0] in dataset.schema.names]
    wanted = dict.fromkeys(each.partition(".")[0] for each in (column, label, name, URI.name, ID.name, *beside))
    parts = [
        dataset._take_rows(row_ids[start : start + TAKE_ROWS].tolist(), columns=[*wanted])
        for start in range(0, max(len(row_ids), 1), TAKE_ROWS)
    ]
    table = with_fields(pa.concat_tables(pa.table(part) for part in parts), label, group)
    table = table.filter(has_vectors(table[column]))
    codes = pc.dictionary_encode(pc.cast(table[label], pa.string())).combine_chunks()
    codes = codes.chunk(0) if isinstance(codes, pa.ChunkedArray) else codes
    order = np.argsort(np.array(codes.dictionary.to_pylist(), object))
    labels = np.argsort(order)[codes.indices.to_numpy(zero_copy_only=False)] if len(codes) else np.zeros(0, np.int64)
    vectors = flat_numpy(table[column]) if table.num_rows else np.zeros((0, 0), np.float32)
    # Regions of an image are of one image.
    keys = [table[each].combine_chunks() for each in dict.fromkeys([*beside, ID.name])]
    return LabelledRows(
        stored=vectors,
        classes=tuple(codes.dictionary.take(pa.array(order)).to_pylist()),
        labels=labels.astype(np.int64),
        groups=components(keys, table.num_rows),
        ids=table[name].combine_chunks(),
        uris=table[URI.name].combine_chunks(),
        whole=whole,
    )


def with_fields(table: pa.Table, *names: str | None) -> pa.Table:
    """The table with fields of structs that are named as columns of their own."""
    for name in names:
        if name is not None and "." in name and name not in table.column_names:
            outer, _, inner = name.partition(".")
            table = table.append_column(name, pc.struct_field(table[outer], inner))
    return table


def draw_row_ids(dataset: Any, has: str | None, rows: int, seed: int) -> tuple[np.ndarray, int]:
    """((n,) uint64 row ids in the table's order, number of rows that match the SQL of `has` and are not marked as
    deleted): up to `rows` of these, drawn by a hash of their row id."""
    where = " AND ".join(each for each in (has, live_rows(dataset.schema)) if each) or None
    kept, whole = np.zeros(0, np.uint64), 0
    salt = mixed(np.array([seed], np.uint64))
    for batch in plain_scan(dataset, [], where, with_row_id=True):
        found = batch["_rowid"].to_numpy()
        whole += len(found)
        kept = np.append(kept, found)
        if len(kept) > rows:
            kept = kept[np.argpartition(mixed(kept ^ salt), rows - 1)[:rows]]
    return np.sort(kept), whole


def components(keys: list[pa.Array], rows: int) -> np.ndarray:
    """(N,) int64: the number of each row's group; rows that have a value in common in any of the keys are in one. A
    null is in common with nothing."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones, others, nodes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], rows
    for key in keys:
        codes = pc.dictionary_encode(key)
        valid = np.flatnonzero(key.is_valid().to_numpy(zero_copy_only=False))
        ones.append(valid)
        others.append(nodes + codes.indices.take(pa.array(valid)).to_numpy().astype(np.int64))
        nodes += len(codes.dictionary)
    edges = (np.ones(sum(map(len, ones)), bool), (np.concatenate(ones), np.concatenate(others)))
    _, groups = connected_components(coo_array(edges, shape=(nodes, nodes)), directed=False)
    found: np.ndarray = np.unique(groups[:rows], return_inverse=True)[1].astype(np.int64)
    return found


def split_groups(groups: np.ndarray, shares: tuple[float, ...], *, seed: int) -> list[np.ndarray]:
    """Indices of the rows on each side: whole groups at random, about these shares of the rows, all the rest last."""
    names, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    ends = np.cumsum(sizes[order]) / max(len(groups), 1)
    side = np.empty(len(names), np.int64)
    # A group is where its middle falls.
    side[order] = np.searchsorted(np.cumsum(shares), ends - sizes[order] / (2 * max(len(groups), 1)), side="right")
    return [np.flatnonzero(side[codes] == each) for each in range(len(shares) + 1)]
