"""The embedding space: everything that decides what a vector means. Recorded with the vectors, never mixed."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from operators.base.operator import OperatorConfig
from pipelines.space.reduction import REDUCING

Record = dict[str, Any]


def space_record(operators: Sequence[OperatorConfig], column: str) -> Record:
    """Operator name to what it decides about the vectors of `column`, over the whole chain.

    The chain is followed back from the column to what it was made from, so operators for another model do not matter.
    """
    wanted: set[str] = {column}
    record: Record = {}
    for operator in reversed(operators):
        decided = [fields for name in wanted if (fields := operator.space(name))]
        if decided:
            [record[operator.name]] = decided
            wanted |= operator.reads
    return dict(reversed(record.items()))


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


def reduced_record(base: Record, chain: Sequence[OperatorConfig], column: str) -> Record:
    """The space of `column`, made by `chain` from vectors of the space `base`."""
    return base | {operator.name: operator.space(column) for operator in chain}


def base_record(record: Record) -> Record:
    """The space of the base column that a derived column is made from."""
    return {name: decided for name, decided in record.items() if name not in REDUCING}
