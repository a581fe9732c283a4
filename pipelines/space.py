"""The embedding space: everything that decides what a vector means. Recorded with the vectors, never mixed."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from operators.errors import UserError
from operators.models.spec import ModelDescription
from pipelines.stage import Stage

SPACE_KEY = b"pixlake.space"
DIGEST_KEY = b"pixlake.space_digest"
MODEL_KEY = b"pixlake.model"

Record = dict[str, Any]


class SpaceError(UserError):
    """Vectors of two spaces would be mixed or compared; the message shows both sides."""


def space_record(stages: Sequence[Stage]) -> Record:
    """Operator name to what it decides, over the whole chain. Which stage an operator runs in does not matter."""
    operators = [operator for stage in stages for operator in stage.operators]
    return {operator.name: operator.space() for operator in operators if operator.space()}


def space_digest(record: Record) -> str:
    """sha256, hex, of the record's canonical JSON."""
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def differences(table: Record, run: Record, prefix: str = "") -> list[str]:
    """One line per field that differs: its path, what the table has, what the run has."""
    lines = []
    for key in sorted(table.keys() | run.keys()):
        path = f"{prefix}{key}"
        there, here = table.get(key), run.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            lines += differences(there, here, f"{path}.")
        elif there != here:
            lines.append(f"{path}: the table has {json.dumps(there)}, this run has {json.dumps(here)}")
    return lines


def with_space(field: pa.Field, record: Record, model: ModelDescription) -> pa.Field:
    """The vector field carrying its space, so that whoever holds the vectors knows what they mean."""
    return field.with_metadata(
        {
            SPACE_KEY: json.dumps(record, sort_keys=True).encode(),
            DIGEST_KEY: space_digest(record).encode(),
            MODEL_KEY: model.model_dump_json().encode(),
        }
    )


def read_space(field: pa.Field, table: str) -> tuple[Record, ModelDescription]:
    """The record and the model of a vector column. Raises `SpaceError` for a column that Pixlake did not write."""
    metadata = field.metadata or {}
    if SPACE_KEY not in metadata or MODEL_KEY not in metadata:
        raise SpaceError(f"table {table}: column {field.name!r} has no recorded space, so it is not one of Pixlake's")
    return json.loads(metadata[SPACE_KEY]), ModelDescription.model_validate_json(metadata[MODEL_KEY])


def check_space(table_record: Record, run_record: Record, table: str) -> None:
    """Raises `SpaceError`, naming each field that differs."""
    lines = differences(table_record, run_record)
    if lines:
        raise SpaceError(
            f"table {table}: its vectors mean something else than this run's would:\n  "
            + "\n  ".join(lines)
            + "\nUse the table's own model and settings (`pixlake describe` shows them), or another table"
        )
