"""Where a run's rows land: the columns of a table as they are now, compared with those that the run writes.

Data files know columns by Lance's field ids. While a run is on, Lance lets other tools change the schema, and still
accepts a fragment that was written before: a column that takes no nulls and that the fragment lacks makes the table
unreadable, a column of a changed type (a new field id) is null in the fragment's rows, and codes of a quantizer land in
a column that was made anew with another. So a fragment goes only to the very columns that it was written for.
"""

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from lance.fragment import FragmentMetadata

from operators.base.columns import ID
from operators.storage.uris import split_uri
from pipelines.space.field import REDUCTION_KEY, same_space
from pipelines.space.labelling import LABELLING_KEY, same_labelling
from pipelines.table.errors import RefusedError, SchemaChangedError


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How rows of a run can be written to the table as it is now."""

    schema: pa.Schema
    """The run's columns, as fields of the table."""
    left_out: tuple[str, ...]
    """Derived columns that are gone or mean something else by now. They are null in what is written from here on."""


def fit_schema(uri: str, there: pa.Schema, ours: pa.Schema) -> Fit:
    """The fit. Raises `RefusedError`, naming each column that rows of `ours` do not fit and what can be done about it.

    Columns that a user has added are left alone; they must take nulls. A column that was altered to a type that holds
    every value of ours is written as that type.
    """
    fields, left_out, wrong = [], [], []
    for field in ours:
        column = there.field(field.name) if field.name in there.names else None
        made = {REDUCTION_KEY, LABELLING_KEY} & {*(field.metadata or {})}
        if made and (column is None or not _same(column, field)):
            left_out.append(field.name)
        elif column is None:
            wrong.append(_missing(uri, field))
        elif not _holds_all(column.type, field.type):
            wrong.append(_other_type(uri, column, field))
        else:
            fields.append(column)
    wrong += [_takes_no_nulls(uri, f) for f in there if not f.nullable and f.name not in ours.names]
    if wrong:
        raise RefusedError(f"{uri}: the columns do not fit:\n  " + "\n  ".join(wrong))
    return Fit(schema=pa.schema(fields), left_out=tuple(left_out))


def check_landing(uri: str, dataset: Any, written: pa.Schema, fragments: Sequence[FragmentMetadata] = ()) -> None:
    """Raises `SchemaChangedError` unless rows of the schema `written` fit this version of the table as they are, and
    the fragments hold its columns by their field ids."""
    there = dataset.schema
    changed = [f.name for f in written if f.name not in there.names or not _same(there.field(f.name), f)]
    changed += [f.name for f in there if not f.nullable and f.name not in written.names]
    if not changed:
        columns = landing_ids(dataset, written)
        held = [{each for file in f.files for each in file.fields} for f in fragments]
        # Of a struct or a list Lance writes down the ids of what lies within, so a column is there by any of its ids.
        changed = [name for name, ids in columns.items() if any(not ids & each for each in held)]
        if any(each - set().union(*columns.values()) for each in held) and not changed:
            changed = ["field ids"]
    if changed:
        raise SchemaChangedError(
            f"{uri}: the schema was changed while rows were being written to it ({', '.join(changed)}); they were not "
            "published"
        )


def check_meaning(uri: str, fitted: pa.Schema, written: pa.Schema) -> None:
    """Raises `RefusedError` where a vector column of `written` has been made anew, with another space, in `fitted`."""
    for field in fitted:
        if not same_space(field, written.field(field.name)):
            raise RefusedError(
                f"{uri}: the vectors of {field.name} do not mean any more what they meant when this run began; "
                "`pixlake describe` shows what the table holds now"
            )


def landing_ids(dataset: Any, written: pa.Schema) -> dict[str, set[int]]:
    """Column of `written` -> Lance's field ids of it and of its children."""
    return {f.name(): _ids([f]) for f in dataset.lance_schema.fields() if f.name() in written.names}


def check_nulls(uri: str, rows: pa.Table, schema: pa.Schema) -> None:
    """Raises `RefusedError` where a column of `schema` takes no nulls and these rows have one."""
    for field in schema:
        if not field.nullable and rows[field.name].null_count:
            first = rows[ID.name].filter(rows[field.name].is_null())[0]
            raise RefusedError(
                f"{uri}: {field.name} takes no nulls there, and it is null in rows of this source, {first} the first. "
                f"It takes them once this line has run: {lancedb_line(uri, _nullable(field.name))}"
            )


def lancedb_line(uri: str, call: str) -> str:
    """A command line with which a user can change the table at this URI."""
    database, _, name = uri.rpartition("/")
    table = f"lancedb.connect({json.dumps(database)}).open_table({json.dumps(name.removesuffix('.lance'))})"
    line = "python -c " + shlex.quote(f"import lancedb; {table}.{call}")
    return line if split_uri(uri)[0] == "file" else f"{line} (with the storage_options of connect where it needs them)"


def _missing(uri: str, field: pa.Field) -> str:
    text = f"{field.name}: not in the table, this run would write {field.type}. Leave it out of source.keep"
    try:
        named = pa.type_for_alias(str(field.type)) == field.type
    except ValueError:
        named = False
    if not named:
        return text + ", or add it to the table again"
    arrow = f'__import__("pyarrow").field({json.dumps(field.name)}, "{field.type}")'
    return f"{text}, or add it again: {lancedb_line(uri, f'add_columns({arrow})')}"


def _other_type(uri: str, column: pa.Field, field: pa.Field) -> str:
    return (
        f"{field.name}: {column.type} in the table, {field.type} in this run. Use the settings the table was made "
        "with, alter the column back if it was altered since, or write to another table"
    )


def _takes_no_nulls(uri: str, field: pa.Field) -> str:
    return (
        f"{field.name}: in the table, not in this run, and not nullable. New rows have null there once this line has "
        f"run: {lancedb_line(uri, _nullable(field.name))}"
    )


def _nullable(column: str) -> str:
    return f'alter_columns({{"path": {json.dumps(column)}, "nullable": True}})'


def _same(column: pa.Field, field: pa.Field) -> bool:
    alike: bool = column.type == field.type and column.nullable == field.nullable
    return alike and same_space(column, field) and same_labelling(column, field)


def _holds_all(there: pa.DataType, ours: pa.DataType) -> bool:
    """Whether the type `there` holds every value of the type `ours`."""
    if there == ours:
        return True
    types = pa.types
    for kind in (
        (types.is_string, types.is_large_string),
        (types.is_binary, types.is_large_binary),
    ):
        if any(is_kind(there) for is_kind in kind):
            return any(is_kind(ours) for is_kind in kind)
    for is_kind in (types.is_signed_integer, types.is_unsigned_integer, types.is_floating):
        if is_kind(ours) and is_kind(there):
            return bool(there.bit_width >= ours.bit_width)
    return bool(types.is_unsigned_integer(ours) and types.is_signed_integer(there) and there.bit_width > ours.bit_width)


def _ids(fields: Iterable[Any]) -> set[int]:
    return {each for f in fields for each in (f.id(), *_ids(f.children()))}
