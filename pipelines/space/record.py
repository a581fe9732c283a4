"""The embedding space: everything that decides what a vector means. Recorded with the vectors, never mixed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from operators.base.columns import VECTOR
from operators.base.errors import UserError
from operators.base.failures import clean_message
from operators.base.operator import OperatorConfig
from operators.models.canaries import Canaries, check_canaries
from operators.models.spec import ModelDescription
from pipelines.run.stage import Stage
from pipelines.space.reduction import REDUCING, Reduction, reduction_chain

_PREFIX = b"pixlake."
SPACE_KEY = b"pixlake.space"
DIGEST_KEY = b"pixlake.space_digest"
MODEL_KEY = b"pixlake.model"
CANARIES_KEY = b"pixlake.canaries"
REDUCTION_KEY = b"pixlake.reduction"
"""Of a derived column: how it is made of its base column."""

Record = dict[str, Any]

_UNREADABLE = "what is recorded of its model was written by another release of Pixlake, or damaged"


class SpaceError(UserError):
    """Vectors of two spaces would be mixed or compared; the message shows both sides."""


def space_record(stages: Sequence[Stage], column: str) -> Record:
    """Operator name to what it decides about the vectors of `column`, over the whole chain.

    Followed back from the column to what it was made from, so neither the stage that an operator runs in nor what is
    made beside it for another model matters.
    """
    wanted: set[str] = {column}
    record: Record = {}
    for operator in [operator for stage in reversed(stages) for operator in reversed(stage.operators)]:
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


def with_space(
    field: pa.Field,
    record: Record,
    model: ModelDescription,
    canaries: Canaries | None = None,
    reduction: Reduction | None = None,
) -> pa.Field:
    """The vector field carrying its space, so that whoever holds the vectors knows what they mean."""
    metadata = {
        SPACE_KEY: json.dumps(record, sort_keys=True).encode(),
        DIGEST_KEY: space_digest(record).encode(),
        MODEL_KEY: model.model_dump_json().encode(),
    }
    if canaries is not None:
        metadata[CANARIES_KEY] = canaries.model_dump_json().encode()
    if reduction is not None:
        metadata[REDUCTION_KEY] = reduction.model_dump_json().encode()
    return field.with_metadata(metadata)


def read_canaries(field: pa.Field) -> Canaries | None:
    """What the model of a vector column gave for the canary images; None where the model has none.

    Raises `SpaceError` for what this Pixlake did not write.
    """
    stored = (field.metadata or {}).get(CANARIES_KEY)
    try:
        return None if stored is None else Canaries.model_validate_json(stored)
    except ValueError as error:
        raise SpaceError(f"column {field.name!r}: {_UNREADABLE}: {clean_message(str(error))}") from error


def read_reduction(field: pa.Field) -> Reduction | None:
    """How a derived column is made; None of a base column. Raises `SpaceError` for what this Pixlake did not write."""
    stored = (field.metadata or {}).get(REDUCTION_KEY)
    try:
        return None if stored is None else Reduction.model_validate_json(stored)
    except ValueError as error:
        raise SpaceError(f"column {field.name!r}: {_UNREADABLE}: {clean_message(str(error))}") from error


def read_reductions(schema: pa.Schema) -> dict[str, Reduction]:
    """The derived columns of a table."""
    found = {field.name: read_reduction(field) for field in schema}
    return {name: reduction for name, reduction in found.items() if reduction is not None}


def reduced_record(base: Record, chain: Sequence[OperatorConfig], column: str) -> Record:
    """The space of what `chain` makes in `column` of vectors of the space `base`."""
    return base | {operator.name: operator.space(column) for operator in chain}


def base_record(record: Record) -> Record:
    """The space of the base column that a derived column is made of."""
    return {name: decided for name, decided in record.items() if name not in REDUCING}


def describe_vectors(field: pa.Field) -> dict[str, Any]:
    """All that Pixlake has recorded of a vector column, JSON-ready: what `recorded_vectors` reads."""
    about: dict[str, Any] = {"type": str(field.type)}
    for key, value in (field.metadata or {}).items():
        if key.startswith(_PREFIX):
            text = value.decode()
            about[key.removeprefix(_PREFIX).decode()] = json.loads(text) if text.startswith("{") else text
    return about


def recorded_vectors(about: Mapping[str, Any], where: str) -> tuple[Record, ModelDescription, Canaries | None]:
    """What `describe_vectors` gave, read back. Raises `SpaceError` for what this Pixlake did not write."""
    try:
        record, canaries = dict(about["space"]), about.get("canaries")
        if space_digest(record) != about["space_digest"]:
            raise ValueError("its digest is not that of its space")
        found = None if canaries is None else Canaries.model_validate(canaries)
        return record, ModelDescription.model_validate(about["model"]), found
    except (KeyError, TypeError, ValueError) as error:
        raise SpaceError(f"{where}: {_UNREADABLE}: {clean_message(str(error))}") from error


def vector_columns(schema: pa.Schema) -> list[str]:
    """The columns that carry a space. A vector column that a user added by other means carries none."""
    return [field.name for field in schema if SPACE_KEY in (field.metadata or {})]


def same_space(one: pa.Field, other: pa.Field) -> bool:
    """Whether two fields are vector columns of one recorded space, or neither is one of Pixlake's."""
    first, second = ((field.metadata or {}).get(SPACE_KEY) for field in (one, other))
    if first is None or second is None or first == second:
        return bool(first == second)
    return not differences(json.loads(first), json.loads(second))


def read_space(field: pa.Field, table: str) -> tuple[Record, ModelDescription]:
    """The record and the model of a vector column. Raises `SpaceError` for a column that Pixlake did not write."""
    metadata = field.metadata or {}
    if SPACE_KEY not in metadata or MODEL_KEY not in metadata:
        raise SpaceError(f"table {table}: column {field.name!r} has no recorded space, so it is not one of Pixlake's")
    try:
        return json.loads(metadata[SPACE_KEY]), ModelDescription.model_validate_json(metadata[MODEL_KEY])
    except ValueError as error:
        raise SpaceError(f"table {table}: column {field.name!r}: {_UNREADABLE}: {clean_message(str(error))}") from error


def check_spaces(schema: pa.Schema, records: Mapping[str, Record], table: str) -> None:
    """Raises `SpaceError` unless the table has the vector columns of the run, each of the same space, and no more
    than these and derived ones, which `pixlake reduce` can add and fill at any time."""
    there = vector_columns(schema)
    if not set(records) <= set(there) or set(there) - set(records) - set(read_reductions(schema)):
        raise SpaceError(
            f"table {table}: its vector columns are {', '.join(sorted(there)) or 'none'}; this run would write "
            f"{', '.join(sorted(records))}. Vectors of another model cannot be added to rows that are there: use the "
            "table's own models under their names (`pixlake describe` shows them), or another table"
        )
    for column, record in records.items():
        check_space(read_space(schema.field(column), table)[0], record, table, column)


def check_same_spaces(there: pa.Schema, ours: pa.Schema, table: str) -> None:
    """Raises `SpaceError` or `CanaryError` unless rows of the schema `ours` belong into a table of the schema `there`.

    For the moment of the first write: another run may have made the table since this one was planned.
    """
    columns = vector_columns(ours)
    check_spaces(there, {name: read_space(ours.field(name), table)[0] for name in columns}, table)
    for name in columns:
        made_with, here = read_canaries(there.field(name)), read_canaries(ours.field(name))
        if made_with is not None and here is not None:
            model = read_space(ours.field(name), table)[1].spec.name
            check_canaries(made_with, here.to_numpy(), name=model, device=here.device)


def check_reduction(field: pa.Field, table: str) -> None:
    """Raises `SpaceError` where this Pixlake would make something else of a base column than a derived one holds."""
    reduction = read_reduction(field)
    if reduction is not None:
        there, _ = read_space(field, table)
        ours = reduced_record(base_record(there), reduction_chain(reduction, field.name), field.name)
        check_space(there, ours, table, field.name)


def check_space(table_record: Record, run_record: Record, table: str, column: str = VECTOR) -> None:
    """Raises `SpaceError`, naming each field that differs."""
    lines = differences(table_record, run_record)
    if lines:
        which = "its vectors mean" if column == VECTOR else f"the vectors of {column} mean"
        raise SpaceError(
            f"table {table}: {which} something else than this run's would:\n  "
            + "\n  ".join(lines)
            + "\nUse the table's own model and settings (`pixlake describe` shows them), or another table"
        )
