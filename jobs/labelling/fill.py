"""The columns that a clustering or a classifier fills: those that are there, gone on with, and new ones."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from jobs.session.progress import Progress
from jobs.session.ray_cluster import fragment_tasks
from operators.base.errors import UserError
from pipelines.classification.knn import KnnRows
from pipelines.derivation.column import derive_columns
from pipelines.derivation.filling import DeriveReport
from pipelines.derivation.fragment import Compute
from pipelines.run.cluster import ClusterConfig
from pipelines.space.choose import IN_SWAP, base_columns, choose_base
from pipelines.space.field import digest_of, read_reductions
from pipelines.space.labelling import (
    Labelling,
    LabelRows,
    describe_labelling,
    labelling_chain,
    labelling_field,
    locate_labelling,
    read_labelling,
)
from pipelines.table.errors import RefusedError
from pipelines.table.landing import lancedb_line
from pipelines.table.table import Table


def choose_single(table: str, schema: pa.Schema, asked: str | None) -> pa.Field:
    """The field of the model's column that is asked for, or of the only one. Raises `UserError`, also where its rows
    hold several vectors, which would be of several groups."""
    bases = base_columns(table, schema)
    name = choose_base(asked, bases, where=f"table {table}", option="--column", derived=read_reductions(schema))
    field = schema.field(name)
    if pa.types.is_list(field.type):
        raise UserError(
            f"table {table}: a row of {name} holds the vectors of all regions of an image, which can be of several "
            "groups; embed with regions.layout=rows for a row a region"
        )
    return field


def named_beside(name: str, part: str) -> str:
    """The name of the column beside `name`: `NAME_PART`, with the ending of a swap at its own end, so that a flip
    renames both."""
    ending = next((each for each in IN_SWAP if name.endswith(each)), "")
    return f"{name.removesuffix(ending)}_{part}{ending}"


def labelling_there(table: Table, schema: pa.Schema, names: Mapping[str, str], base: pa.Field) -> Labelling | None:
    """How the columns `names` (part -> column) are made, if they are there; None where none is. Raises `RefusedError`
    where some are there without the others, or are anything else than such columns of `base`."""
    there = [name for name in names.values() if name in schema.names]
    if not there:
        return None
    first = read_labelling(schema.field(there[0]))
    missing = [name for name in names.values() if name not in there]
    drop = f"drop it with {lancedb_line(table.uri, f'drop_columns({there})')}"
    if first is None:
        raise RefusedError(
            f"table {table}: {there[0]} is there, and was not made by this command; choose another --name"
        )
    if first.base != base.name:
        raise RefusedError(
            f"table {table}: {there[0]} is there, {describe_labelling(first)}; choose another --name, or {drop}"
        )
    if missing:
        raise RefusedError(f"table {table}: {', '.join(missing)} is gone, and {', '.join(there)} is not; {drop}")
    if first.space_digest != digest_of(base):
        raise RefusedError(
            f"table {table}: {there[0]} was made of {base.name} when that held vectors of another space; choose "
            f"another --name, or {drop}"
        )
    return first


def refuse_other(table: Table, name: str, there: Labelling, asked: str, columns: list[str]) -> RefusedError:
    """The error where what is there was made with other settings."""
    return RefusedError(
        f"table {table}: {name} is there, {describe_labelling(there)}, made with other settings than asked for "
        f"({asked}); choose another --name, or drop it with {lancedb_line(table.uri, f'drop_columns({columns})')}"
    )


def _compute(made: Mapping[str, Labelling], located: Mapping[str, Labelling], table: Table) -> Compute:
    one = next(iter(located.values()))
    if one.method == "knn":
        parts = [each.part for each in made.values()]
        return KnnRows(one.artifact, one.base, parts, one.threshold, table.storage)
    [operator] = labelling_chain(located, table.storage)
    return LabelRows(operator, one.base, [*made])


def fill(
    table: Table, names: Mapping[Any, str], labelling: Labelling, cluster: ClusterConfig, progress: Progress
) -> DeriveReport:
    """Add the columns `names` (part -> column) and fill them, where that is left to do."""
    made = {name: labelling.model_copy(update={"part": part}) for part, name in names.items()}
    located = {name: locate_labelling(each, table.artifacts, table.storage) for name, each in made.items()}
    compute = _compute(made, located, table)
    columns = pa.schema([labelling_field(name, each) for name, each in made.items()])
    with fragment_tasks(cluster, table.latest().count_rows()) as execute:
        return derive_columns(
            table,
            columns,
            labelling.base,
            compute,
            execute=execute,
            on_rows=lambda rows, total: progress.counted(f"{rows:,} of {total:,} rows", rows / max(total, 1)),
        )
