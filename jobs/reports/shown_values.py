"""Rows of a table as Python values, and those as JSON: whatever type a column has, neither fails."""

import base64
import datetime
import math
from typing import Any

import pyarrow as pa


def python_rows(table: pa.Table) -> list[dict[str, Any]]:
    """A dict a row. What Python has no value for is text: a time in ISO 8601 (of a zone that is not known here in UTC),
    after the year 9999 or so the number that is stored, in the column's unit."""
    columns = [[_value(scalar) for scalar in column] for column in table.columns]
    return [dict(zip(table.column_names, values, strict=True)) for values in zip(*columns, strict=True)]


def json_ready(value: Any) -> Any:
    """The value as JSON can hold it.

    Bytes are base64; decimals, dates, times and durations text in ISO 8601; a number that is none is `NaN`, `Infinity`
    or `-Infinity` as text; the entries of a map are pairs of key and value.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(key): json_ready(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(each) for each in value]
    if isinstance(value, datetime.timedelta):
        return _iso_duration(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


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


def _iso_duration(value: datetime.timedelta) -> str:
    """`PT1.5S`; of pandas, which knows nanoseconds, with them."""
    nanoseconds = getattr(value, "value", None)
    if nanoseconds is None:
        nanoseconds = (value // datetime.timedelta(microseconds=1)) * 1000
    seconds, rest = divmod(abs(nanoseconds), 10**9)
    fraction = f"{rest:09d}".rstrip("0")
    return f"{'-' if nanoseconds < 0 else ''}PT{seconds}{'.' * bool(fraction)}{fraction}S"
