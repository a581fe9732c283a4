"""Rows of a table as Python values, without fail whatever type a column has."""

from typing import Any

import pyarrow as pa


def python_rows(table: pa.Table) -> list[dict[str, Any]]:
    """A dict a row. Values that Python cannot hold become text: a time in ISO 8601 (in UTC where the zone is not known
    here); after about the year 9999, the stored number, in the column's unit."""
    columns = [[_value(scalar) for scalar in column] for column in table.columns]
    return [dict(zip(table.column_names, values, strict=True)) for values in zip(*columns, strict=True)]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, KeyError):
        # KeyError: a time zone that this machine does not know.
        return _value_by_parts(scalar)


def _value_by_parts(scalar: pa.Scalar) -> Any:
    kind = scalar.type
    if pa.types.is_struct(kind):
        return {field.name: _value(scalar[field.name]) for field in kind}
    if pa.types.is_map(kind):
        return [(_value(entry["key"]), _value(entry["value"])) for entry in scalar.values]
    if hasattr(scalar, "values"):
        return [_value(each) for each in scalar.values]
    if not pa.types.is_temporal(kind):
        # Text that is not UTF-8: another tool has written it.
        return scalar.as_buffer().to_pybytes().decode(errors="replace")
    number = scalar.cast(pa.int64() if kind.bit_width == 64 else pa.int32())
    if pa.types.is_duration(kind):
        return str(number)
    zone = "Z" if pa.types.is_timestamp(kind) and kind.tz is not None else ""
    text: str = number.cast(pa.timestamp(kind.unit) if zone else kind).cast(pa.string()).as_py()
    return str(number) if "out of range" in text else text.replace(" ", "T") + zone
