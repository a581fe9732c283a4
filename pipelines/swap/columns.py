"""The columns of a swap: added, renamed at the flip and back, dropped. Each change is one commit, under a claimed term.

Names alone change at a flip. Data, indexes and what is recorded of a vector's meaning belong to Lance's field ids, and
go along.
"""

from collections.abc import Mapping, Sequence

import lance
import pyarrow as pa

from operators.base.failpoints import failpoint
from pipelines.index.records import vector_indexes
from pipelines.scan.plain import plain_count, plain_scan
from pipelines.scan.sql import sql_column
from pipelines.space.field import (
    REDUCTION_KEY,
    SETTINGS_KEY,
    digest_of,
    read_reductions,
    read_settings,
    read_space,
    same_space,
)
from pipelines.space.labelling import LABELLING_KEY, made_of, read_labellings
from pipelines.space.record import base_record, differences
from pipelines.space.usable_rows import usable_rows
from pipelines.swap.state import before_name, next_name
from pipelines.table.errors import RefusedError
from pipelines.table.fenced_table import FencedTable
from pipelines.table.table import Table


def take_over(table: Table, run_id: str) -> FencedTable:
    """The vector table under the next term, which is claimed on both tables: runs that are on can publish no more, and
    go on from there when they are started again. Raises `ClaimLostError`, `UserError` where there is no table."""
    failures, vectors = (
        FencedTable(dataset.uri, dataset, dataset.schema, table.storage)
        for dataset in (table.latest_failures(), table.latest())
    )
    number = max(failures.term.number, vectors.term.number) + 1
    vectors.claim(number, run_id)
    failures.claim(number, run_id)
    return vectors


def add_column(vectors: FencedTable, field: pa.Field) -> None:
    """Add a nullable column without data. Raises `RefusedError` where the name is taken by something else."""

    def there(dataset: "lance.LanceDataset") -> bool:
        return field.name in dataset.schema.names

    vectors.change_columns(lambda dataset: dataset.add_columns(pa.schema([field])), there)
    found = vectors.dataset.schema.field(field.name)
    if found.type != field.type or not same_space(found, field):
        raise RefusedError(f"{vectors.uri}: there is a column {field.name} already, of another meaning; drop it first")


def record_settings(vectors: FencedTable, settings: Mapping[str, str]) -> None:
    """Record the configuration of the model of each column (column -> JSON) that has none yet."""

    def missing(dataset: "lance.LanceDataset") -> dict[str, str]:
        known = read_settings(dataset.schema)
        return {name: each for name, each in settings.items() if name not in known}

    key = SETTINGS_KEY.decode()
    vectors.change_columns(
        lambda dataset: dataset.update_field_metadata({name: {key: each} for name, each in missing(dataset).items()}),
        lambda dataset: not missing(dataset),
    )


def is_flipped(schema: pa.Schema, column: str) -> bool:
    """Whether the column is the new one: its predecessor has another name."""
    return before_name(column) in schema.names


def flip_names(schema: pa.Schema, column: str) -> dict[str, str]:
    """Old name -> new name of each column that a flip renames: those of the two models, and all derived of them. One
    that is derived of the new column and has no `_next` at its end keeps its name."""
    names = {column: before_name(column), next_name(column): column}
    for name, base in made_of(schema).items():
        if base == column:
            names[name] = before_name(name)
        elif base == next_name(column) and name.endswith(next_name("")):
            names[name] = name.removesuffix(next_name(""))
    return names


def rollback_names(schema: pa.Schema, column: str) -> dict[str, str]:
    """The same of a rollback."""
    names = {before_name(column): column, column: next_name(column)}
    for name, base in made_of(schema).items():
        if base == before_name(column) and name.endswith(before_name("")):
            names[name] = name.removesuffix(before_name(""))
        elif base == column:
            names[name] = next_name(name)
    return names


def check_there(table: str, schema: pa.Schema, column: str) -> None:
    """Raises `RefusedError` where another tool has dropped or renamed a column that the swap's record counts on."""
    if column not in schema.names:
        raise RefusedError(
            f"table {table}: the column {column} of its swap is not there: another tool has dropped or renamed it. "
            "Nothing was changed. Give it its name back, or restore an earlier version if it was dropped"
        )


def check_names_free(schema: pa.Schema, names: Mapping[str, str]) -> None:
    """Raises `RefusedError` where a column would get the name of one that keeps it."""
    taken = sorted(set(names.values()) & (set(schema.names) - set(names)))
    if taken:
        raise RefusedError(f"a column would be renamed to {', '.join(taken)}, which is there already; drop that first")


def rename_columns(vectors: FencedTable, names: Mapping[str, str], column: str, *, flipped: bool) -> None:
    """Rename the columns in one commit, unless that was done; then let derived columns name their base by its name."""
    paths = [{"path": old, "name": new} for old, new in names.items()]
    vectors.change_columns(
        lambda dataset: dataset.alter_columns(*paths),
        lambda dataset: is_flipped(dataset.schema, column) == flipped,
    )
    failpoint("swap.renamed")
    vectors.change_columns(
        lambda dataset: dataset.update_field_metadata(_misnamed(dataset.schema, column)),
        lambda dataset: not _misnamed(dataset.schema, column),
    )


def _misnamed(schema: pa.Schema, column: str) -> dict[str, dict[str, str]]:
    """Derived column -> the metadata that says how it is made, with its base by its name, where it names another. Which
    is its base its space says."""
    names = (column, next_name(column), before_name(column))
    bases = [name for name in names if name in schema.names]
    wrong: dict[str, dict[str, str]] = {}
    for name, reduction in read_reductions(schema).items():
        record = base_record(read_space(schema.field(name), name)[0])
        true = [each for each in bases if not differences(record, read_space(schema.field(each), each)[0])]
        if reduction.base in names and true and reduction.base not in true:
            wrong[name] = {REDUCTION_KEY.decode(): reduction.model_copy(update={"base": true[0]}).model_dump_json()}
    for name, labelling in read_labellings(schema).items():
        true = [each for each in bases if digest_of(schema.field(each)) == labelling.space_digest]
        if labelling.base in names and true and labelling.base not in true:
            wrong[name] = {LABELLING_KEY.decode(): labelling.model_copy(update={"base": true[0]}).model_dump_json()}
    return wrong


def derived_of(schema: pa.Schema, base: str) -> list[str]:
    """The columns that are made of the base column, vectors and labels."""
    return [name for name, made in made_of(schema).items() if made == base]


def lacking_beside(dataset: "lance.LanceDataset", column: str) -> list[str]:
    """What the column has and its successor has not, a sentence each: searches would lose it at a flip."""
    schema, new = dataset.schema, next_name(column)
    lacking = [
        f"{name} is made of {column}, and nothing called {next_name(name)} of {new}"
        for name in derived_of(schema, column)
        if next_name(name) not in derived_of(schema, new)
    ]
    pairs = {column: new, **{name: next_name(name) for name in derived_of(schema, column)}}
    lacking += [
        f"{name} has an index, and {other} has none"
        for name, other in pairs.items()
        if other in schema.names and vector_indexes(dataset, name) and not vector_indexes(dataset, other)
    ]
    return lacking + _unfilled_beside(dataset, column)


def _unfilled_beside(dataset: "lance.LanceDataset", column: str) -> list[str]:
    """Columns that are made of the new one and were never filled to the end, as a killed command leaves them."""
    schema, new, found = dataset.schema, next_name(column), []
    made, labelled = derived_of(schema, new), read_labellings(schema)
    for name in derived_of(schema, column):
        other = next_name(name)
        # A row without a class may have been left without one.
        if other not in made or (name in labelled and labelled[name].part == "label"):
            continue
        there, new_there, other_there = (f"{sql_column(each)} IS NOT NULL" for each in (name, new, other))
        where = f"{there} AND {new_there} AND NOT ({other_there})"
        if count := plain_count(dataset, where):
            vectors = (batch[new] for batch in plain_scan(dataset, [new], where, in_order=False))
            # Of a vector without a direction nothing is made.
            if any(usable_rows(each, "cosine").any() for each in vectors):
                found.append(
                    f"{other} is empty in {count:,} rows where {name} is not and {new} has a vector: the command that "
                    "makes it has not come to its end; start it again"
                )
    return found


def drop_columns(vectors: FencedTable, names: Sequence[str]) -> None:
    """Drop columns, with their indexes, in one commit."""

    def left(dataset: "lance.LanceDataset") -> list[str]:
        return [name for name in names if name in dataset.schema.names]

    vectors.change_columns(lambda dataset: dataset.drop_columns(left(dataset)), lambda dataset: not left(dataset))
    failpoint("swap.dropped")
