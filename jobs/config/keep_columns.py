"""Columns of the source that settings name, kept for the job that reads them."""

from collections.abc import Iterable
from typing import Any


def keep_named(values: Any, settings: Iterable[str]) -> Any:
    """A job's raw values with the columns that these settings name among `source.keep`; what is no mapping is given
    back as it is."""
    source = values.get("source") if isinstance(values, dict) else None
    if not isinstance(source, dict):
        return values
    keep = list(source.get("keep") or ())
    named = (values.get(name) for name in settings)
    keep += [name for name in dict.fromkeys(named) if isinstance(name, str) and name not in keep]
    return {**values, "source": {**source, "keep": keep}}
