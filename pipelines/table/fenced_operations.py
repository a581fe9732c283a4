"""The Lance operations that a commit under a term is made of, and how a table is searched for what they need.

Lance commits are atomic, but an append is rebased over whatever came before it, so an old driver could go on publishing
for ever. Two forms of commit are not rebased, and every change of rows uses one of them:

- an `Update` that lists an existing fragment conflicts with any other that lists the same one. Listing the lowest
  fragment beside the new ones makes an append that only one of two racing holders can land;
- a `Merge`, which gives the table's fragments anew, conflicts with every change of rows or schema, and with any other
  `Merge`. It serves while the table has no fragment to list (Lance drops empty fragments, and a seed row has no place
  in a user's table), and keeps the indexes that another tool's delete of every row has left. On a table with stable
  row ids Lance cannot do it; an `Overwrite` with `max_retries=0` lands only on the very version it was built on, and
  drops the indexes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lance import LanceOperation
from lance.fragment import FragmentMetadata

from operators.base.columns import ID, POSITION_FIELDS
from pipelines.scan.plain import plain_count, plain_scan
from pipelines.table.positions import table_keys

MATCH_ROWS = 1 << 20
"""Rows that are compared with a list of values at a time: Arrow hashes the list anew for each batch."""


def first_fragments(dataset: "lance.LanceDataset", new: Sequence[FragmentMetadata]) -> Any:
    """The operation for fragments of a table that has none; field ids, schema metadata and table metadata stay as they
    are.

    Without new fragments, on a table without stable row ids, it is a barrier: a commit that an earlier holder has under
    way fails on it.
    """
    if dataset.has_stable_row_ids:
        return LanceOperation.Overwrite(dataset.lance_schema, list(new))
    first = next_fragment_id(dataset)
    numbered = [_numbered(fragment, first + number) for number, fragment in enumerate(new)]
    return LanceOperation.Merge(numbered, dataset.lance_schema)


def _numbered(fragment: FragmentMetadata, number: int) -> FragmentMetadata:
    """The fragment with its number: a `Merge` takes the numbers as they are given."""
    return replace(fragment, id=number)


def metadata_update(updates: Mapping[str, str | None], *, not_in_schema: str | None = None) -> Any:
    """The operation that sets keys of the table's metadata; None deletes one. `not_in_schema`: a key deleted from the
    schema's metadata."""
    return LanceOperation.UpdateConfig(
        table_metadata_updates=LanceOperation.UpdateMap(dict(updates)),
        schema_metadata_updates=None if not_in_schema is None else LanceOperation.UpdateMap({not_in_schema: None}),
    )


def fenced_update(
    dataset: "lance.LanceDataset",
    new: Sequence[FragmentMetadata],
    deleted: Mapping[int, np.ndarray] | None = None,
) -> Any:
    """The operation that adds `new` fragments and deletes rows (fragment id -> row offsets), with the lowest fragment
    listed as the fence."""
    fence = min(dataset.get_fragments(), key=lambda f: f.fragment_id)
    updated: dict[int, FragmentMetadata | None] = {fence.fragment_id: fence.metadata}
    for fragment_id, offsets in (deleted or {}).items():
        updated[fragment_id] = dataset.get_fragment(fragment_id).delete_rows(offsets.tolist())
    return LanceOperation.Update(
        removed_fragment_ids=[fragment_id for fragment_id, left in updated.items() if left is None],
        updated_fragments=[left for left in updated.values() if left is not None],
        new_fragments=list(new),
        update_mode="rewrite_rows",
        # A field left out here is taken as unchanged: an index on it would count the new rows as indexed and never
        # find them.
        fields_for_preserving_frag_bitmap=_field_ids(dataset.lance_schema.fields()),
    )


def _field_ids(fields: Sequence[Any]) -> list[int]:
    return [each for f in fields for each in (f.id(), *_field_ids(f.children()))]


def holds(dataset: "lance.LanceDataset", known: set[int], key: int) -> bool:
    """Whether a fragment that is not among the `known` holds the position."""
    fresh = [f for f in dataset.get_fragments() if f.fragment_id not in known]
    where = f"`shard` = {key >> 32} AND `row` = {key & 0xFFFFFFFF}"
    return bool(fresh) and plain_count(dataset, where, fragments=fresh) > 0


def lists_file(dataset: "lance.LanceDataset", paths: Collection[str]) -> bool:
    """Whether the version lists one of the data files."""
    return any(file.path in paths for fragment in dataset.get_fragments() for file in fragment.metadata.files)


def unchanged(before: "lance.LanceDataset", now: "lance.LanceDataset", rows: Mapping[int, np.ndarray]) -> bool:
    """Whether rows (fragment id -> row offsets) of the version `before` are in the same places in the version `now`,
    with the same values in the same columns.

    An update writes a row into another fragment, as a compaction does; a column that is filled gets another file.
    """
    if before.version == now.version:
        return True
    if _columns(before) != _columns(now):
        return False
    there = {fragment.fragment_id: fragment for fragment in now.get_fragments()}
    return all(
        number in there and _holds_all(before.get_fragment(number), there[number], offsets)
        for number, offsets in rows.items()
    )


def _columns(dataset: "lance.LanceDataset") -> list[tuple[str, int, str]]:
    fields = dataset.lance_schema.fields()
    return [(f.name(), f.id(), str(dataset.schema.field(f.name()).type)) for f in fields]


def _holds_all(before: "lance.LanceFragment", now: "lance.LanceFragment", offsets: np.ndarray) -> bool:
    if [file.path for file in before.metadata.files] != [file.path for file in now.metadata.files]:
        return False
    if before.metadata.deletion_file == now.metadata.deletion_file:
        return True
    live = [batch["_rowaddr"].to_numpy() & 0xFFFFFFFF for batch in plain_scan(now, [], with_row_address=True)]
    return bool(np.isin(offsets, np.concatenate([np.zeros(0, np.uint64), *live])).all())


def addresses(dataset: "lance.LanceDataset", keys: np.ndarray) -> dict[int, np.ndarray]:
    """Fragment id -> offsets of its rows at one of the positions."""
    shards = np.unique(keys >> 32)
    if not len(shards):
        return {}
    where = f"`shard` IN ({', '.join(map(str, shards))})"
    scanned = plain_scan(dataset, ["shard", "row"], where, with_row_address=True)
    hits = [batch["_rowaddr"].to_numpy()[np.isin(table_keys(batch), keys)] for batch in scanned]
    return by_fragment(hits)


def addresses_of(column: str, values: pa.Array, dataset: "lance.LanceDataset") -> dict[int, np.ndarray]:
    """Fragment id -> offsets of its rows with one of the values in the column. All rows are looked at; no index is
    used."""
    hits = []
    for batch in plain_scan(dataset, [column], with_row_address=True, batch_size=MATCH_ROWS):
        hit = pc.is_in(batch[column], value_set=values).to_numpy(zero_copy_only=False)
        hits.append(batch["_rowaddr"].to_numpy()[hit])
    return by_fragment(hits)


def places_of(dataset: "lance.LanceDataset", ids: pa.Array) -> pa.Table:
    """Columns `id`, `shard`, `row` of every row that has one of the ids; no index is used."""
    scanned = plain_scan(dataset, [ID.name, "shard", "row"], batch_size=MATCH_ROWS)
    schema = pa.schema([field.with_nullable(True) for field in (ID, *POSITION_FIELDS)])
    found = [batch.filter(pc.is_in(batch[ID.name], value_set=ids)) for batch in scanned]
    return pa.concat_tables([schema.empty_table(), *(pa.Table.from_batches([each]).cast(schema) for each in found)])


def by_fragment(row_addresses: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
    """Fragment id -> sorted offsets of its rows, from row addresses (uint64)."""
    found = np.sort(np.concatenate([np.zeros(0, np.uint64), *row_addresses]))
    fragments, starts = np.unique(found >> 32, return_index=True)
    return dict(zip(fragments.tolist(), np.split(found & 0xFFFFFFFF, starts[1:]), strict=True)) if len(found) else {}


_MAX_FRAGMENT_ID = 11
"""The field `max_fragment_id` of the message `Manifest` in Lance's `table.proto`."""


def next_fragment_id(dataset: "lance.LanceDataset") -> int:
    """The number after every one that a fragment of the table has ever had, also those that are gone.

    An index knows rows by their fragment's number, deleted rows too: if a number were given twice, it would take new
    rows for those. Lance keeps the highest number in its manifest; pylance has no other way to read it.
    """
    highest = varint_field(dataset._ds.serialized_manifest(), _MAX_FRAGMENT_ID)
    return 0 if highest is None else highest + 1


def varint_field(message: bytes, wanted: int) -> int | None:
    """The number in a field of a protobuf message; None where it is not set."""
    at, found = 0, None
    while at < len(message):
        tag, at = _varint(message, at)
        field, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            found = value if field == wanted else found
        elif kind == 2:
            length, at = _varint(message, at)
            at += length
        else:
            at += {1: 8, 5: 4}[kind]
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """(number, index of the next byte)."""
    value = shift = 0
    while True:
        byte, at = message[at], at + 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
