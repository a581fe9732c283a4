"""What the page has to know of a table: its columns, how each can be searched, and what lies beside it."""

from typing import Any

import pyarrow as pa
from pydantic import BaseModel, Field

from jobs.web.asked import MOST_RESULTS
from operators.embed_api import is_api
from operators.models.families import IMPORTED
from pipelines.index.records import read_index_record, unindexed_rows, vector_indexes
from pipelines.search.rows import shown_columns
from pipelines.space.choose import base_columns, columns_there, not_in_swap
from pipelines.space.field import read_reductions, read_space
from pipelines.space.reduction import describe_reduction
from pipelines.table.layout import layout_of

CLUSTER = "cluster"


class ServedIndex(BaseModel):
    """The vector index on a column, and how it is looked into unless a query says otherwise."""

    name: str
    type: str
    nprobes: int | None
    """None where another tool built the index: Lance decides."""
    refine: int | None
    recall: float | None
    """The share of the true nearest that it found when it was measured."""
    partitions: int | None
    unindexed_rows: int


class ServedColumn(BaseModel):
    """A vector column that can be searched."""

    name: str
    model: str
    words: bool
    """Whether it can be searched by words."""
    images: bool
    """Whether it can be searched by images from outside: not where its vectors were imported."""
    loaded_here: bool = Field(exclude=True)
    """Whether it is the column of a model that this process runs itself."""
    dim: int
    derived: str | None
    """How it is made of the model's column; None for that itself."""
    base: str
    index: ServedIndex | None


class ServedTable(BaseModel):
    """A table as the page shows it."""

    table: str
    version: int
    rows: int
    failures: int
    regions: bool
    """Whether rows or lists of vectors stand for parts of images."""
    columns: list[ServedColumn]
    default_column: str
    values: dict[str, str]
    """The other columns and their types, for filters."""
    clusters: str | None
    """The column with the number of each row's cluster; None where there is none."""
    duplicates: bool
    """Whether near-duplicates were looked for."""
    most_results: int = MOST_RESULTS


def served_table(table: str, dataset: Any, failures: int = 0, *, duplicates: bool = False) -> ServedTable:
    """Read off the table's metadata: no row is read. Raises `SpaceError` for a table that is not one of Pixlake's."""
    schema = dataset.schema
    names = columns_there(table, schema)
    bases = base_columns(table, schema) or names
    return ServedTable(
        table=table,
        version=dataset.version,
        rows=dataset.count_rows(),
        failures=failures,
        regions=layout_of(schema) is not None,
        columns=[_column(table, dataset, name) for name in names],
        default_column=[*not_in_swap(bases), *bases][0],
        values={name: str(schema.field(name).type) for name in shown_columns(schema)},
        clusters=cluster_column(schema),
        duplicates=duplicates,
    )


def cluster_column(schema: pa.Schema) -> str | None:
    """The column that `pixlake cluster` fills; None where there is none."""
    there = CLUSTER in schema.names and pa.types.is_integer(schema.field(CLUSTER).type)
    return CLUSTER if there else None


def _column(table: str, dataset: Any, name: str) -> ServedColumn:
    schema = dataset.schema
    _, model = read_space(schema.field(name), table)
    reduction = read_reductions(schema).get(name)
    return ServedColumn(
        name=name,
        model=model.spec.name,
        words=model.text,
        images=model.spec.family != IMPORTED,
        loaded_here=reduction is None and model.spec.family != IMPORTED and not is_api(model),
        dim=reduction.dim if reduction else model.dim,
        derived=None if reduction is None else describe_reduction(reduction),
        base=reduction.base if reduction else name,
        index=_index(dataset, name),
    )


def _index(dataset: Any, name: str) -> ServedIndex | None:
    found = vector_indexes(dataset, name)
    if not found:
        return None
    record = read_index_record(dataset, name)
    return ServedIndex(
        name=found[0].name,
        type=record.type if record else str(found[0].index_type),
        nprobes=record.nprobes if record else None,
        refine=record.refine if record else None,
        recall=record.recall if record else None,
        partitions=record.parameters.get("num_partitions") if record else None,
        unindexed_rows=unindexed_rows(dataset, name),
    )
