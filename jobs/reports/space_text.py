"""A space as a person reads it: a line for each setting that is set."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.space.record import Record


def space_lines(record: Record) -> list[str]:
    """Lines such as `decode.alpha: white`. Nulls are left out; true and false become yes and no."""
    return [f"{key}: {_plain(value)}" for key, value in _settings("", record) if value is not None]


def _settings(prefix: str, record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, Mapping) and value:
            yield from _settings(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and not any(isinstance(each, list | dict) for each in value):
        return ", ".join(map(_plain, value))
    return value if isinstance(value, str) else json.dumps(value)
