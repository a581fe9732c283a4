"""Whether each vector column is of the type that its recorded space says, and that record whole."""

from typing import Any

import pyarrow as pa

from operators.base.columns import ERROR_FIELDS
from operators.models.families import IMPORTED
from operators.vectors.apply import vector_type
from pipelines.audit.faults import Fault
from pipelines.space.field import DIGEST_KEY, SpaceError, read_reduction, read_space
from pipelines.space.record import space_digest
from pipelines.space.reduction import Reduction, reduction_chain


def audit_columns(schema: pa.Schema, columns: list[str], table: str) -> list[Fault]:
    """One fault at most a column."""
    wrong = {name: _wrong(schema, name, table) for name in columns}
    return [Fault(kind="space", where=name, count=1, what=why) for name, why in wrong.items() if why is not None]


def _wrong(schema: pa.Schema, name: str, table: str) -> str | None:
    field = schema.field(name)
    try:
        record, model = read_space(field, table)
        reduction = read_reduction(field)
    except SpaceError as error:
        return str(error)
    if (field.metadata or {}).get(DIGEST_KEY, b"").decode() != space_digest(record):
        return "the digest of its space is not that of the space that is recorded beside it"
    there = vector_type(field.type)
    if reduction is not None:
        wanted = _derived_type(reduction, name)
    else:
        dtype = {"float16": pa.float16(), "float32": pa.float32()}.get(record.get("normalize", {}).get("dtype", ""))
        dim = record["embed"]["dim"] if model.spec.family == IMPORTED else model.dim
        wanted = pa.list_(dtype or there.value_type, dim)
    same = (there.list_size, there.value_type) == (wanted.list_size, wanted.value_type)
    return None if same else f"holds {there}, and its space is one of {wanted}"


def _derived_type(reduction: Reduction, name: str) -> Any:
    """The type of one vector that the reduction makes."""
    base = pa.field(reduction.base, pa.list_(pa.float32(), reduction.base_dim))
    schema = pa.schema([base, *ERROR_FIELDS])
    for config in reduction_chain(reduction, name):
        schema = config.output_schema(schema)
    return vector_type(schema.field(name).type)
