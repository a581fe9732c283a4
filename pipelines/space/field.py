"""A space in the metadata of its vector column: written there and read back; and the columns that have one."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from operators.base.errors import UserError, clean_message
from operators.models.canaries import Canaries
from operators.models.spec import ModelDescription
from pipelines.space.record import Record, differences, space_digest
from pipelines.space.reduction import Reduction

_PREFIX = b"pixlake."


SPACE_KEY = b"pixlake.space"


DIGEST_KEY = b"pixlake.space_digest"


MODEL_KEY = b"pixlake.model"


CANARIES_KEY = b"pixlake.canaries"


REDUCTION_KEY = b"pixlake.reduction"
"""Field metadata key of a derived column: how it is made from its base column."""


SETTINGS_KEY = b"pixlake.settings"
"""Field metadata key of a model's column, in a table whose columns were changed since it was made: the configuration of
the model as JSON, by which later runs fill the column without being told."""


class SpaceError(UserError):
    """Vectors of two spaces would be mixed or compared; the message shows both sides."""


def _unreadable(where: str, error: Exception) -> SpaceError:
    why = str(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        why = f"{'.'.join(map(str, first['loc'])) or 'JSON'}: {first['msg']}"
    return SpaceError(
        f"{where}: what is recorded of its model was written by another release of Pixlake, or damaged "
        f"({clean_message(why)}). `search --id`, `failures`, `export` and `rewrite` do without it; for all else use "
        "the release that made the table, or embed into another one"
    )


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
        raise _unreadable(f"column {field.name!r}", error) from error


def read_reduction(field: pa.Field) -> Reduction | None:
    """How a derived column is made; None for a base column. Raises `SpaceError` for what this Pixlake did not write."""
    stored = (field.metadata or {}).get(REDUCTION_KEY)
    try:
        return None if stored is None else Reduction.model_validate_json(stored)
    except ValueError as error:
        raise _unreadable(f"column {field.name!r}", error) from error


def read_settings(schema: pa.Schema) -> dict[str, str]:
    """Column of a model -> the configuration of its model as JSON, for columns that have it recorded."""
    stored = {field.name: (field.metadata or {}).get(SETTINGS_KEY) for field in schema}
    return {name: settings.decode() for name, settings in stored.items() if settings is not None}


def read_reductions(schema: pa.Schema) -> dict[str, Reduction]:
    """Derived column of a table -> its reduction."""
    found = {field.name: read_reduction(field) for field in schema}
    return {name: reduction for name, reduction in found.items() if reduction is not None}


def describe_vectors(field: pa.Field) -> dict[str, Any]:
    """All that Pixlake has recorded of a vector column, JSON-ready; `recorded_vectors` reads it."""
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
        raise _unreadable(where, error) from error


def vector_columns(schema: pa.Schema) -> list[str]:
    """The columns that carry a space. A vector column that a user added in another way carries none."""
    return [field.name for field in schema if SPACE_KEY in (field.metadata or {})]


def same_space(one: pa.Field, other: pa.Field) -> bool:
    """Whether two fields are vector columns with the same recorded space, or neither is one of Pixlake's."""
    first, second = ((field.metadata or {}).get(SPACE_KEY) for field in (one, other))
    if first is None or second is None or first == second:
        return bool(first == second)
    return not differences(json.loads(first), json.loads(second))


def digest_of(field: pa.Field) -> str:
    """The digest of a vector column's space; empty for a column that has none."""
    digest: bytes = (field.metadata or {}).get(DIGEST_KEY, b"")
    return digest.decode()


def read_space(field: pa.Field, table: str) -> tuple[Record, ModelDescription]:
    """The record and the model of a vector column. Raises `SpaceError` for a column that Pixlake did not write."""
    metadata = field.metadata or {}
    if SPACE_KEY not in metadata or MODEL_KEY not in metadata:
        raise SpaceError(f"table {table}: column {field.name!r} has no recorded space, so it is not one of Pixlake's")
    try:
        return json.loads(metadata[SPACE_KEY]), ModelDescription.model_validate_json(metadata[MODEL_KEY])
    except ValueError as error:
        raise _unreadable(f"table {table}: column {field.name!r}", error) from error
