"""What to write where Lance (13.0.0) takes no value of a condition as one of the column's type.

It reads `12.5` as a float and `'2026-11-30'` as a text, and brings neither to a decimal or a date.
"""

import re

from pipelines.scan.sql import sql_text

_REFUSED = re.compile(r"Received literal (\w+)\((.*)\) and could not convert to literal of type '([^']+)'", re.DOTALL)
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d(\.\d+)?)?")


def other_literal(message: str) -> str | None:
    """How the value is to be written, where Lance's message says that it is refused; else None."""
    refused = _REFUSED.search(message)
    if refused is None:
        return None
    text, kind = refused[1] == "Utf8", refused[3]
    value = refused[2][1:-1] if text else refused[2]
    given = sql_text(value) if text else value
    return f"{given} is not compared with a column of {kind} as it stands; write {_written(kind, value)}"


def _written(kind: str, value: str) -> str:
    if kind.startswith("Decimal128"):
        return f"CAST({value if _NUMBER.fullmatch(value) else '12.5'} AS {kind.upper().replace('128', '')})"
    if kind.startswith("Date"):
        return f"date '{value if _DATE.fullmatch(value) else '2026-11-30'}'"
    if kind.startswith("Timestamp"):
        zone = "" if kind.endswith("None)") else ", in the column's own zone and without an offset"
        return f"timestamp '{value if _TIME.fullmatch(value) else '2026-11-30 12:00:00'}'{zone}"
    if kind.startswith("Time"):
        return "CAST(NAME AS STRING), NAME being the column, and compare it with a text: '06:00:00'"
    if kind.endswith("Utf8"):
        return sql_text(value)
    if kind == "Binary":
        return "the bytes in hex: x'ff00'"
    if kind.startswith(("Decimal", "Int", "UInt", "Duration")):
        number = "BIGINT" if kind.startswith("Duration") else "DOUBLE"
        return f"CAST(NAME AS {number}), NAME being the column, and compare it with any number"
    return "a value of that type"
