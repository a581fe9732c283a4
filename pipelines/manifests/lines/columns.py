"""Rows that were found, read column by column: as `records` reads them, many times as fast."""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json

from pipelines.manifests.lines.found import FoundRows, count_between, texts
from pipelines.manifests.manifest import SourceConfig
from pipelines.manifests.records import CsvColumns

_DEEPEST = 900
"""Brackets in a line of JSON that Python can read, whatever it is within."""
_MOST_DIGITS = 4_300
"""Of a number that Python reads."""
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % _MOST_DIGITS)
_NO_NUMBER = re.compile(rb"[:,\[]\s*-?(?:Inf|NaN)")
"""Python reads `NaN` and `Infinity`, pyarrow also `Inf`."""
_TYPES: dict[type, pa.DataType] = {
    str: pa.string(),
    type(None): pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}


class ReadColumns(NamedTuple):
    """A value for each row; what the source calls nothing is null."""

    uri: pa.Array
    id: pa.Array
    kept: tuple[pa.Array, ...]


def read_text(found: FoundRows) -> ReadColumns:
    uris = texts(found)
    return ReadColumns(uris, pa.nulls(len(uris), pa.string()), ())


def read_csv(found: FoundRows, columns: CsvColumns) -> ReadColumns:
    """The plain rows of CSV, whose quotes and fields have been seen to be right."""
    data = found.plain_bytes()
    names = [str(number) for number in range(columns.width)]
    used = [columns.uri, *([] if columns.id is None else [columns.id]), *columns.kept]
    if not data:
        table = pa.table({names[number]: pa.array([], pa.string()) for number in used})
    else:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            read_options=pyarrow.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1),
            parse_options=pyarrow.csv.ParseOptions(delimiter=columns.delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={names[number]: pa.string() for number in used},
                include_columns=[names[number] for number in dict.fromkeys(used)],
                strings_can_be_null=False,
            ),
        )
    uri, *others = (table[names[number]].combine_chunks() for number in used)
    others = [pc.if_else(pc.equal(values, ""), None, values) for values in others]
    row_id = pa.nulls(len(uri), pa.string()) if columns.id is None else others.pop(0)
    return ReadColumns(uri, row_id, tuple(others))


def read_json(found: FoundRows, config: SourceConfig) -> ReadColumns | None:
    """The plain rows of JSON Lines, each of which begins and ends as an object does. None where one may be no JSON, or
    holds what pyarrow reads otherwise than Python."""
    data, count = found.plain_bytes(), int(found.is_plain.sum())
    uri = config.uri_column or ""
    names = list(dict.fromkeys([uri, *([config.id_column] if config.id_column else []), *config.keep]))
    table = None if _may_differ(data, found) else _json_table(data, names)
    # A line with two objects would be two rows.
    if table is None or table.num_rows != count or not pa.types.is_string(table[uri].type):
        return None
    columns: dict[str | None, pa.Array] = {None: pa.nulls(count, pa.string())}
    for name in names:
        column = _json_text(table[name].combine_chunks(), is_id=name == config.id_column)
        if column is None:
            return None
        columns[name] = column
    return ReadColumns(columns[uri], columns[config.id_column], tuple(columns[name] for name in config.keep))


def _may_differ(data: bytes, found: FoundRows) -> bool:
    longest = int((found.ends - found.starts).max(initial=0))
    if longest > 2 * _DEEPEST:
        signs = np.frombuffer(found.data, np.uint8)
        brackets = np.flatnonzero((signs == ord("{")) | (signs == ord("[")))
        if count_between(brackets, found.starts, found.ends).max() > _DEEPEST:
            return True
    # A pattern takes longer than all of reading: it is asked only where one of the words is there.
    if (b"Inf" in data or b"NaN" in data) and _NO_NUMBER.search(data) is not None:
        return True
    return longest > _MOST_DIGITS and _LONG_NUMBER.search(data) is not None


def _json_table(data: bytes, names: Sequence[str]) -> pa.Table | None:
    """Columns of texts; or where that does not hold, of the types in the first row."""
    for types in (_texts, _types_in_first_row):
        schema = types(data, names)
        if schema is None:
            return None
        try:
            return pyarrow.json.read_json(
                pa.BufferReader(data),
                read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
                parse_options=pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
            )
        except pa.ArrowInvalid:
            continue
    return None


def _texts(_data: bytes, names: Sequence[str]) -> pa.Schema | None:
    return pa.schema([(name, pa.string()) for name in names])


def _types_in_first_row(data: bytes, names: Sequence[str]) -> pa.Schema | None:
    try:
        row = json.loads(data[: data.find(b"\n") + 1] or data)
    except (ValueError, RecursionError):
        return None
    values = [row.get(name) for name in names]
    if any(type(value) not in _TYPES for value in values):
        return None
    return pa.schema([(name, _TYPES[type(value)]) for name, value in zip(names, values, strict=True)])


def _json_text(values: pa.Array, *, is_id: bool) -> pa.Array | None:
    """As `records` has them; None where a whole number may have been written with a point."""
    if pa.types.is_string(values.type):
        return values
    if pa.types.is_int64(values.type):
        return values.cast(pa.string())
    if is_id:
        return None
    if pa.types.is_boolean(values.type):
        return values.cast(pa.string())
    numbers = values.drop_null().to_numpy()
    if (numbers == np.trunc(numbers)).any():
        return None
    return pa.array([None if value is None else repr(value) for value in values.to_pylist()], pa.string())
