"""Python values as JSON can hold them: whatever type a column has, it does not fail."""

import base64
import datetime
import math
from typing import Any


def json_ready(value: Any) -> Any:
    """The value as JSON can hold it.

    Bytes become base64; decimals text; dates, times and durations text in ISO 8601; floats that are not finite the text
    `NaN`, `Infinity` or `-Infinity`; a map a list of pairs of key and value.
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


def _iso_duration(value: datetime.timedelta) -> str:
    """ISO 8601, as in `PT1.5S`; for pandas' own type to the nanosecond, which it knows."""
    nanoseconds = getattr(value, "value", None)
    if nanoseconds is None:
        nanoseconds = (value // datetime.timedelta(microseconds=1)) * 1000
    seconds, rest = divmod(abs(nanoseconds), 10**9)
    fraction = f"{rest:09d}".rstrip("0")
    return f"{'-' if nanoseconds < 0 else ''}PT{seconds}{'.' * bool(fraction)}{fraction}S"
