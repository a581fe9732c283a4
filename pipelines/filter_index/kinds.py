"""Kinds of filter index, and which of them Lance has for a column."""

import pyarrow as pa

from operators.base.errors import UserError
from pipelines.space.field import vector_columns

KINDS = ("BTREE", "BITMAP", "LABEL_LIST", "ZONEMAP", "BLOOMFILTER", "NGRAM")


def kinds_of(kind: pa.DataType) -> list[str]:
    """The kinds that Lance builds on a column of the type. docs/indexes.md has the table, and tests check both against
    Lance."""
    types = pa.types
    plain = not (types.is_nested(kind) or types.is_dictionary(kind) or types.is_null(kind))
    text = types.is_string(kind) or types.is_large_string(kind)
    listed = (types.is_list(kind) or types.is_large_list(kind)) and not types.is_nested(kind.value_type)
    unhashed = (
        types.is_boolean(kind)
        or types.is_float16(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_duration(kind)
        or types.is_decimal(kind)
    )
    there = {
        "BTREE": plain,
        "BITMAP": plain,
        "LABEL_LIST": listed,
        "ZONEMAP": True,
        "BLOOMFILTER": plain and not unhashed,
        "NGRAM": text,
    }
    return [name for name in KINDS if there[name]]


def scalar_kind(schema: pa.Schema, column: str, wanted: str | None) -> str:
    """The kind to build on a column: BITMAP for booleans, LABEL_LIST for lists, BTREE otherwise, unless one is
    `wanted`.

    Raises `UserError` for a column that is not there or holds vectors, and for a kind that Lance does not have for its
    type.
    """
    if column not in schema.names:
        raise UserError(f"--scalar {column}: no such column; there are {', '.join(schema.names)}")
    if wanted is not None and wanted not in KINDS:
        raise UserError(f"--scalar {column}={wanted}: no such index; there are {', '.join(KINDS)}")
    if column in vector_columns(schema):
        raise UserError(
            f"--scalar {column}: it holds vectors, and Lance would take a filter index on them for the one that "
            f"searches use; that one is built with --column {column} --type TYPE, and filters need none"
        )
    kind = schema.field(column).type
    there = kinds_of(kind)
    usual = "BITMAP" if pa.types.is_boolean(kind) else "LABEL_LIST" if "LABEL_LIST" in there else "BTREE"
    if (chosen := wanted or usual) not in there:
        asked = column if wanted is None else f"{column}={wanted}"
        raise UserError(f"--scalar {asked}: Lance has no {chosen} for {kind}; it has {', '.join(there)}")
    return chosen
