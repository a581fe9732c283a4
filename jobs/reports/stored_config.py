"""The configuration that a run has left beside its table."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import obstore
from obstore.exceptions import BaseError

from operators.storage.redact import reason_of
from operators.storage.stores import object_store
from pipelines.table.table import Table


def latest_config(table: Table, runs: Iterable[str]) -> dict[str, Any] | None:
    """That of the latest of these runs that has left one; None where none has. Raises `OSError`."""
    store, prefix = object_store(table.names.runs, table.storage)
    # Their ids begin with the second of their start; of those of one second the later one is further back here.
    for run_id in sorted(runs, key=lambda run_id: run_id.partition("-")[0])[::-1]:
        try:
            found = json.loads(bytes(obstore.get(store, f"{prefix}/{run_id}/config.json").bytes()))
        except FileNotFoundError:
            continue
        except (BaseError, ValueError) as error:
            place = f"{table.names.runs}/{run_id}/config.json"
            raise OSError(f"{place}: cannot be read: {reason_of(error)}") from None
        if isinstance(found, dict):
            return found
    return None


_MASKED = "*" * 10
"""What pydantic writes in place of a secret."""


def without_secrets(values: Any) -> Any:
    """The values without those that are masked: they come from the environment, or are given again."""
    if not isinstance(values, Mapping):
        return values
    return {key: without_secrets(value) for key, value in values.items() if value != _MASKED}
