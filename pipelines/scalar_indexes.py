"""Indexes on ordinary columns, for filters: built by workers, and brought up to rows that came later."""

from collections.abc import Sequence
from functools import partial

import pyarrow as pa

from operators.errors import UserError
from pipelines.index_build import MOST_SEGMENTS, Place
from pipelines.index_records import covered_fragments, fragment_rows
from pipelines.index_segments import build_scalar_segment, publish, segments_of, share_out

KINDS = ("BTREE", "BITMAP", "LABEL_LIST", "ZONEMAP", "BLOOMFILTER", "NGRAM")


def scalar_kind(schema: pa.Schema, column: str, wanted: str | None) -> str:
    """What is built on a column: BITMAP for booleans, LABEL_LIST for lists, BTREE else, unless one is wanted.

    Raises `UserError` for a column that is not there, and for one that has no order.
    """
    if column not in schema.names:
        raise UserError(f"--scalar {column}: no such column; there are {', '.join(schema.names)}")
    kind = schema.field(column).type
    if wanted is not None:
        if wanted not in KINDS:
            raise UserError(f"--scalar {column}={wanted}: no such index; there are {', '.join(KINDS)}")
        return wanted
    if pa.types.is_boolean(kind):
        return "BITMAP"
    if pa.types.is_list(kind) and not pa.types.is_nested(kind.value_type):
        return "LABEL_LIST"
    if pa.types.is_nested(kind):
        raise UserError(f"--scalar {column}: Lance has no index for {kind}")
    return "BTREE"


def bring_up(place: Place, column: str, kind: str) -> int:
    """The column's index of this kind, on all rows of the table; gives how many rows had to be indexed.

    Rows that an index already holds are left as they are, unless it has come to too many segments.
    """
    name = f"{column}_idx"
    there = [index for index in place.dataset.describe_indices() if index.name == name]
    old = segments_of(place.dataset, there)
    usable = there and there[0].index_type.upper() == kind.replace("_", "") and len(old) < MOST_SEGMENTS
    missing = fragment_rows(place.dataset, without=covered_fragments(there) if usable else ())
    if not missing:
        return 0
    [group] = share_out(missing, 1)
    built = list(place.execute(partial(build_scalar_segment, *place.opened, column, kind, name), [group]))
    publish(place.dataset, built, [] if usable else old, place.storage)
    return sum(missing.values())


def scalar_columns(schema: pa.Schema, always: Sequence[str], asked: Sequence[str]) -> dict[str, str]:
    """Column -> kind: those of `always` that are there, and those asked for, as `COLUMN` or `COLUMN=KIND`."""
    kinds = {column: scalar_kind(schema, column, None) for column in always if column in schema.names}
    for each in asked:
        column, _, kind = each.partition("=")
        kinds[column] = scalar_kind(schema, column, kind.upper() or None)
    return kinds
