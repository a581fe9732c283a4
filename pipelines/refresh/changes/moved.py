"""What is new under one key and gone under another, and is one object: found by what tells objects apart, where just
one of either has it."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.refresh.changes.changes import OLD_FIELDS, STATE, ImageState
from pipelines.scan.spill import Spill, side_by_side

_IDENTITY = pa.field("row.identity", pa.string())


class Identified(NamedTuple):
    """Rows of `Changes`, and what tells the object of each from others; null where nothing does."""

    rows: pa.Table
    identities: pa.Array


class Movers:
    """New and lost rows, set aside until all are known."""

    def __init__(self, folder: str, schema: pa.Schema, parts: int) -> None:
        """`schema` is that of `Changes`."""
        self._parts = parts
        self._new, self._lost = (
            Spill(folder, name, schema.append(_IDENTITY), _IDENTITY.name, parts) for name in ("new", "lost")
        )

    def add(self, new: Identified, lost: Identified) -> Iterator[pa.Table]:
        """Set rows aside that may have moved; gives the others back."""
        for spill, (rows, found) in ((self._new, new), (self._lost, lost)):
            spill.add(rows.append_column(_IDENTITY, found).filter(found.is_valid()))
            yield rows.filter(found.is_null())

    def settle(self) -> Iterator[pa.Table]:
        """All rows that were set aside: those that have moved joined to one, the others as they were."""
        for new, lost in side_by_side((self._new, self._lost), self._parts):
            yield from _join(new.combine_chunks(), lost.combine_chunks())


def _join(new: pa.Table, lost: pa.Table) -> Iterator[pa.Table]:
    texts = pa.concat_arrays([side[_IDENTITY.name].combine_chunks() for side in (new, lost)])
    codes = texts.dictionary_encode().indices.to_numpy().astype(np.int64)
    sides = codes[: new.num_rows], codes[new.num_rows :]
    known = int(codes.max(initial=-1)) + 1
    once = np.logical_and(*(np.bincount(each, minlength=known) == 1 for each in sides))
    at = [np.full(known, -1, np.int64) for _ in sides]
    for places, side in zip(at, sides, strict=True):
        places[side] = np.arange(len(side))
    moved = new.take(pa.array(at[0][once])).drop_columns([_IDENTITY.name])
    before = lost.take(pa.array(at[1][once]))
    state: ImageState = "moved"
    moved = moved.set_column(moved.schema.get_field_index(STATE.name), STATE, pa.repeat(state, moved.num_rows))
    for field in OLD_FIELDS:
        moved = moved.set_column(moved.schema.get_field_index(field.name), field, before[field.name])
    yield moved
    for side, codes_of in zip((new, lost), sides, strict=True):
        yield side.filter(pa.array(~once[codes_of])).drop_columns([_IDENTITY.name])
