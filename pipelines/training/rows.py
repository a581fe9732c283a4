"""Rows that a head is trained and judged on, as many as fit into memory, and which of them belong together."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ID, REGION_ID, SHA256
from operators.base.errors import UserError
from operators.normalize import l2_normalize
from pipelines.classification.labelled import components, draw_row_ids, with_fields
from pipelines.evaluation.queries import has_vectors
from pipelines.scan.live import live_rows
from pipelines.scan.plain import plain_scan
from pipelines.scan.sql import sql_column
from pipelines.space.flat import flat_numpy
from pipelines.space.samples import TAKE_ROWS
from pipelines.table.table import Table
from pipelines.training.vectors import HeldVectors, RowVectors, VectorsInTable, taken

_ROW_ID = "_row_id_of_training"


@dataclass(frozen=True, kw_only=True)
class TrainingRows:
    """N rows with a vector."""

    full: RowVectors
    """The vectors, (N, D)."""
    labels: np.ndarray | None
    """(N,) int64: number of each row's label, or of its group of pairs; None without any."""
    captions: RowVectors | None
    """(N, D) vectors of the same rows' texts, where there are."""
    groups: np.ndarray
    """(N,) int64: rows of one number belong together, and never stand on two sides of a split."""
    own: np.ndarray
    """(N,) int64: a row is not asked about those of its own number: of one image, the same bytes or `group`."""
    ids: pa.Array
    """(N,) string: `region_id` in a table with a row per region."""
    whole: int
    """Rows of the table that were to choose from."""
    digest: str
    """Of all vectors, labels and groups, as hexadecimal sha256."""

    def __len__(self) -> int:
        return len(self.groups)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """(M, D) float32, of the rows at these places."""
        found: np.ndarray = self.full.take(rows).astype(np.float32)
        return found

    def texts(self, rows: np.ndarray) -> np.ndarray:
        """(M, D) float32, of the captions of the rows at these places."""
        assert self.captions is not None
        found: np.ndarray = self.captions.take(rows).astype(np.float32)
        return found

    def held_by(self, places: np.ndarray) -> "TrainingRows":
        """The same rows, with the vectors of those at these places alone, which are then in memory."""
        return replace(
            self,
            full=self.full.hold(places),
            captions=None if self.captions is None else self.captions.hold(places),
        )

    def units(self, rows: np.ndarray) -> np.ndarray:
        """(M, D) float32 of unit length."""
        return l2_normalize(self.vectors(rows))


def draw_training_rows(
    dataset: Any,
    column: str,
    *,
    rows: int,
    seed: int,
    label: str | None = None,
    group: str | None = None,
    captions: str | None = None,
    pairs: pa.Table | None = None,
    left_in: Table | None = None,
) -> TrainingRows:
    """Up to `rows` rows, drawn by a hash of their row id, that have a vector with a direction, whatever else is named,
    and are not marked as deleted. Their vectors are held in memory, or, with `left_in`, the table that the dataset is
    of, read once and left there.

    Rows with the same bytes (sha256), of the same image or with the same value of `group` belong together, and with
    `pairs`, of `read_pairs`, those that it joins, whose label is their group. Raises `UserError` where no row is left.
    """
    name = REGION_ID.name if REGION_ID.name in dataset.schema.names else ID.name
    asked = [each for each in (label, captions) if each]
    if pairs is None:
        has = " AND ".join(f"{'.'.join(map(sql_column, each.split('.')))} IS NOT NULL" for each in asked) or None
        row_ids, whole = draw_row_ids(dataset, has, rows, seed)
    else:
        row_ids, whole = _rows_of(dataset, name, pairs["id"].combine_chunks(), rows, seed)
    beside = [*asked, *([group] if group else []), name, ID.name, SHA256.name]
    vectors = [*dict.fromkeys((column, *([captions] if captions else ())))]
    table, kept, digests = _usable(dataset, row_ids, vectors, beside, (label, group), held=left_in is None)
    if not table.num_rows:
        raise UserError(f"no row has both a vector in {column} and what the objective needs")

    def vectors_of(each: str) -> RowVectors:
        if left_in is None:
            return HeldVectors(flat_numpy(table[each]))
        return VectorsInTable(left_in, dataset.version, each, kept, dataset.schema.field(each).type.list_size)

    joined = None if pairs is None else _groups_in(table[name], pairs)
    keys = [table[each].combine_chunks() for each in (SHA256.name, group, ID.name) if each in table.column_names]
    own = components(keys, table.num_rows)
    groups = own if joined is None else components([*keys, joined], table.num_rows)
    labels = _numbers(table[label].combine_chunks()) if label else None if joined is None else _numbers(joined)
    whole_digest = hashlib.sha256(digests)
    for numbers in (labels, groups):
        whole_digest.update(b"" if numbers is None else np.ascontiguousarray(numbers).data)
    return TrainingRows(
        full=vectors_of(column),
        labels=labels,
        captions=vectors_of(captions) if captions else None,
        groups=groups,
        own=own,
        ids=table[name].combine_chunks(),
        whole=whole,
        digest=whole_digest.hexdigest(),
    )


def read_pairs(table: pa.Table, where: str) -> pa.Table:
    """`id` and `group` of rows that belong together, from a table of `id` and `group`, or of `id_a` and `id_b`, whose
    pairs are joined to groups. Raises `UserError` in the name of the file for other columns."""
    names = set(table.column_names)
    if {"id", "group"} <= names:
        found = table.select(["id", "group"]).drop_null()
        return pa.table({"id": pc.cast(found["id"], pa.string()), "group": _numbers(found["group"].combine_chunks())})
    if not {"id_a", "id_b"} <= names:
        raise UserError(
            f"{where} has {', '.join(sorted(names))}; needed are the columns id and group, or id_a and id_b"
        )
    pairs = table.select(["id_a", "id_b"]).drop_null()
    one, other = (pc.cast(pairs[each], pa.string()).combine_chunks() for each in ("id_a", "id_b"))
    numbers = pa.array(np.concatenate([np.arange(len(one)), np.arange(len(other))]))
    ids = pa.concat_arrays([one, other])
    joined = pa.table({"id": ids, "group": components([ids, numbers], len(ids))})
    return joined.group_by("id").aggregate([("group", "min")]).rename_columns(["id", "group"])


def _rows_of(dataset: Any, name: str, ids: pa.Array, rows: int, seed: int) -> tuple[np.ndarray, int]:
    """((n,) uint64 ids of up to `rows` rows, how many of the table have one of the ids)."""
    found = [np.zeros(0, np.uint64)]
    for batch in plain_scan(dataset, [name], live_rows(dataset.schema), with_row_id=True):
        found.append(batch["_rowid"].to_numpy()[pc.is_in(batch[name], value_set=ids).to_numpy(zero_copy_only=False)])
    every = np.concatenate(found)
    kept = np.random.default_rng(seed).permutation(len(every))[:rows]
    return np.sort(every[kept]), len(every)


def _usable(
    dataset: Any,
    row_ids: np.ndarray,
    vectors: Sequence[str],
    beside: Sequence[str],
    fields: tuple[str | None, ...],
    *,
    held: bool,
) -> tuple[pa.Table, np.ndarray, bytes]:
    """(rows whose vectors all have a direction, with these vectors if they are to be `held`, their row ids, the digests
    of their vectors)."""
    hashes = [hashlib.sha256() for _ in vectors]
    parts, kept = [], []
    for start in range(0, max(len(row_ids), 1), TAKE_ROWS):
        some = row_ids[start : start + TAKE_ROWS]
        part = with_fields(taken(dataset, some, [*vectors, *beside])[0], *fields)
        part = part.append_column(_ROW_ID, pa.array(some))
        for each in vectors:
            part = part.filter(has_vectors(part[each]))
        for each, digest in zip(vectors, hashes, strict=True):
            digest.update(np.ascontiguousarray(flat_numpy(part[each])).data)
        kept.append(part[_ROW_ID].to_numpy())
        parts.append(part.drop_columns([_ROW_ID, *(() if held else vectors)]))
    return pa.concat_tables(parts), np.concatenate(kept), b"".join(each.digest() for each in hashes)


def _groups_in(ids: pa.ChunkedArray, pairs: pa.Table) -> pa.Array:
    return pairs["group"].combine_chunks().take(pc.index_in(ids.combine_chunks(), pairs["id"].combine_chunks()))


def _numbers(values: pa.Array) -> np.ndarray:
    """(N,) int64: the same number for the same value."""
    codes: np.ndarray = pc.dictionary_encode(values).indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes
