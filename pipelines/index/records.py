"""What is known of a column's vector index: a record in the table's metadata, and how much of the table it covers."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import lance
from pydantic import BaseModel, ConfigDict, ValidationError

from operators.storage.artifacts import ArtifactRef
from pipelines.space.flat import Metric
from pipelines.table.errors import CommitFailedError, TableError
from pipelines.table.publish import update_table_metadata
from pipelines.table.table import Table

INDEX_PREFIX = "pixlake.index."
"""Table metadata key of a record, before the index's name. It is written before its index is published, and says
nothing until then: a process that dies between the two leaves nothing to mend."""

IndexType = Literal["IVF_RQ", "IVF_PQ", "IVF_SQ", "IVF_FLAT", "IVF_HNSW_SQ", "IVF_HNSW_PQ", "IVF_HNSW_FLAT"]


class IndexRecord(BaseModel):
    """How an index was built, and how it must be searched to find what it was measured to find."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Name of the index in the table. Each build has a name of its own, so a record never describes another build."""
    type: IndexType
    metric: Metric
    parameters: dict[str, int]
    """All numbers that Lance was given: `num_partitions`, and what the type needs of `num_sub_vectors`, `num_bits`,
    `m`, `ef_construction`."""
    model: ArtifactRef
    """Centroids, and the codebook or rotation: later rows are indexed with the same."""
    sample_rows: int
    """Rows that the model was trained on."""
    seed: int
    nprobes: int
    """Partitions that a query looks into."""
    refine: int | None
    """Candidates per result that are compared again by their stored vectors; None for none."""
    recall: float
    """The index recall: the share of the nearest `k`, by an exact search of the same column, that the index found with
    `nprobes` and `refine`, over the queries. It leaves out what the column itself loses of the model's vectors."""
    target_recall: float
    """The index recall that was asked for."""
    k: int
    queries: int
    """Rows of the table that served as queries, each left out of its own results."""
    p50_ms: float
    p99_ms: float
    rows: int
    """Rows of the table when the index was last built or updated."""
    segments: int
    size_bytes: int
    seconds: float
    """Seconds that the last build or update took, training and measuring included."""
    built_at: str
    versions: dict[str, str]


def read_index_record(dataset: "lance.LanceDataset", column: str) -> IndexRecord | None:
    """The record of the index in force on the column; None where Pixlake built none, or where it was replaced.

    Raises `TableError` for a record that this Pixlake cannot read.
    """
    metadata = dataset.metadata
    stored = [metadata.get(INDEX_PREFIX + index.name) for index in vector_indexes(dataset, column)]
    record = next((each for each in stored if each is not None), None)
    try:
        return None if record is None else IndexRecord.model_validate_json(record)
    except ValidationError as error:
        raise TableError(
            f"{dataset.uri}: what is recorded of the index on {column} was written by another release of Pixlake, or "
            f"damaged ({error.error_count()} fields); build it again with `pixlake index`"
        ) from None


def column_metric(dataset: "lance.LanceDataset", column: str) -> Metric | None:
    """The metric of the index on the column, ours or another tool's; None where there is no index.

    Raises `TableError` for a record that this Pixlake cannot read.
    """
    record = read_index_record(dataset, column)
    if record is not None:
        return record.metric
    of_others = [index.details["metric_type"].lower() for index in vector_indexes(dataset, column)]
    return next(iter(of_others), None)


def write_index_record(table: Table, record: IndexRecord) -> None:
    """Write the record. Raises `CommitFailedError` where storage fails."""
    try:
        update_table_metadata(table.uri, {INDEX_PREFIX + record.name: record.model_dump_json()}, table.storage)
    except CommitFailedError as error:
        raise CommitFailedError(
            f"{table.uri}: the record of the index {record.name} could not be written, so it was not published "
            f"({error}); run the same command again"
        ) from error


def forget_index_records(table: Table, names: Sequence[str]) -> None:
    """Delete the records of indexes that the table no longer has, if there are any."""
    known = table.latest().metadata
    if forgotten := {key: None for name in names if (key := INDEX_PREFIX + name) in known}:
        # Nobody reads them; storage that fails here is no reason to say that the build did.
        with suppress(CommitFailedError):
            update_table_metadata(table.uri, forgotten, table.storage)


def vector_indexes(dataset: "lance.LanceDataset", column: str) -> Sequence[Any]:
    """Lance's descriptions of the vector indexes on a column: one, or none, unless two were built at the same time."""
    return [index for index in dataset.describe_indices() if index.field_names == [column] and finds_neighbours(index)]


def finds_neighbours(index: Any) -> bool:
    """Whether Lance's description is of a vector index. A ZONEMAP, which answers `IS NULL`, can be on vectors too."""
    return str(index.index_type).upper().startswith(("IVF", "HNSW", "VECTOR"))


def covered_fragments(indexes: Sequence[Any]) -> set[int]:
    """Ids of the fragments whose rows the indexes hold."""
    return {fragment for index in indexes for segment in index.segments for fragment in segment.fragment_ids}


def unindexed_fragments(dataset: "lance.LanceDataset", column: str) -> Mapping[int, int]:
    """Fragment id -> its rows, for fragments that no index on the column covers; all of them where there is none."""
    covered = covered_fragments(vector_indexes(dataset, column))
    return fragment_rows(dataset, without=covered)


def unindexed_rows(dataset: "lance.LanceDataset", column: str) -> int:
    """How many rows a search has to compare one by one; reads the table's metadata alone."""
    return sum(unindexed_fragments(dataset, column).values())


def fragment_rows(dataset: "lance.LanceDataset", *, without: Collection[int] = ()) -> dict[int, int]:
    """Fragment id -> its rows that are not deleted."""
    there = {fragment.fragment_id: fragment.metadata.num_rows for fragment in dataset.get_fragments()}
    return {fragment: rows for fragment, rows in there.items() if fragment not in without}
