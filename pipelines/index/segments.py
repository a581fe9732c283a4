"""Pieces of an index: built by any worker, merged, tried out while no reader sees them, and published in one commit."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lance
import obstore
from lance import LanceOperation
from lance.dataset import Index, Transaction
from obstore.exceptions import BaseError

from operators.base.errors import UserError, clean_message
from operators.base.failpoints import failpoint
from operators.storage.stores import StorageOptions, lance_options, object_store
from pipelines.index.model import IndexModel, IndexSpec, lance_arguments
from pipelines.index.records import vector_indexes
from pipelines.table.errors import TableError
from pipelines.table.table import Table

UNMERGEABLE = frozenset({"IVF_SQ", "IVF_HNSW_SQ"})
"""Types whose segments stay apart: each segment of scalar quantisation has bounds of its own. Lance merges two all the
same, and recall@10 fell from 0.96 to 0.72."""


def share_out(rows: Mapping[int, int], groups: int) -> list[list[int]]:
    """Fragment ids in at most `groups` groups with about the same number of rows, the largest fragments dealt first."""
    dealt: list[list[int]] = [[] for _ in range(min(groups, len(rows)))]
    filled = [0] * len(dealt)
    for fragment in sorted(rows, key=lambda each: (-rows[each], each)):
        least = filled.index(min(filled))
        dealt[least].append(fragment)
        filled[least] += rows[fragment]
    return [sorted(group) for group in dealt]


def build_segment(
    table: Table,
    version: int,
    spec: IndexSpec,
    model: IndexModel,
    name: str,
    fragments: Sequence[int],
) -> Index:
    """Build an index on the rows of some fragments; its files lie in the table's folder, and no reader sees them.

    Raises `UserError` for numbers that Lance refuses.
    """
    dataset = table.at(version)
    arguments = lance_arguments(model, dataset.schema.field(spec.column).type) | spec.parameters
    try:
        segment = dataset.create_index_uncommitted(
            spec.column,
            spec.type,
            name=name,
            metric=spec.metric,
            replace=True,
            fragment_ids=list(fragments),
            storage_options=lance_options(table.uri, table.storage),
            **arguments,
        )
    except (ValueError, TypeError, RuntimeError) as error:
        why = clean_message(str(error).splitlines()[0])
        raise UserError(f"column {spec.column}: Lance does not build {spec.type} {spec.parameters}: {why}") from error
    failpoint("index.built")
    return segment


def build_scalar_segment(
    table: Table, version: int, column: str, kind: str, name: str, fragments: Sequence[int]
) -> Index:
    """Build a scalar index on them in the same way. Raises `UserError` where Lance has none of this kind for the
    column."""
    dataset = table.at(version)
    try:
        return dataset.create_index_uncommitted(column, kind, name=name, replace=True, fragment_ids=list(fragments))
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        why = clean_message(" ".join(map(str, error.args)).splitlines()[0])
        of = dataset.schema.field(column).type
        raise UserError(f"--scalar {column}={kind}: Lance has no {kind} for {of}: {why}") from error


def merge_segments(table: Table, version: int, segments: Sequence[Index]) -> Index:
    """One segment with the rows of all. The files of the merged ones stay."""
    dataset = table.at(version)
    return dataset.merge_existing_index_segments(list(segments))


def segments_of(dataset: "lance.LanceDataset", indexes: Sequence[Any]) -> list[Index]:
    """The segments in Lance's index descriptions, in the form in which operations name them."""
    return [
        Index(
            uuid=str(segment.uuid),
            name=index.name,
            fields=list(index.fields),
            dataset_version=segment.dataset_version_at_last_update,
            fragment_ids=segment.fragment_ids,
            index_version=segment.index_version,
            created_at=segment.created_at,
        )
        for index in indexes
        for segment in index.segments
    ]


@contextmanager
def unpublished(
    dataset: "lance.LanceDataset", segments: Sequence[Index], column: str, storage: StorageOptions, *, keep: str = ""
) -> "Iterator[lance.LanceDataset]":
    """The table as it would be with these segments as the column's index, beside those of an index called `keep`."""
    removed = [each for each in segments_of(dataset, vector_indexes(dataset, column)) if each.name != keep]
    with trial_version(dataset, segments, removed, storage) as trial:
        yield trial


@contextmanager
def trial_version(
    dataset: "lance.LanceDataset", segments: Sequence[Index], removed: Sequence[Index], storage: StorageOptions
) -> "Iterator[lance.LanceDataset]":
    """The table as it would be with these segments, and without the `removed`.

    It is a detached commit: no reader's line of versions has it, and it is gone on leaving.
    """
    transaction = Transaction(dataset.version, LanceOperation.CreateIndex(list(segments), list(removed)))
    options = lance_options(dataset.uri, storage)
    trial = lance.LanceDataset.commit(dataset, transaction, storage_options=options, detached=True)
    try:
        yield trial
    finally:
        _delete(dataset.uri, [f"_versions/d{trial.version}.manifest", *_transaction_files(transaction)], storage)


def publish(
    dataset: "lance.LanceDataset", segments: Sequence[Index], removed: Sequence[Index], storage: StorageOptions
) -> "lance.LanceDataset":
    """Put the segments in and take the `removed` out, in one commit. Rows appended since `dataset` was read stay
    unindexed, and are found by comparing.

    Lance rebases the commit over appends and deletions. Raises `TableError` where the indexed rows were rewritten
    meanwhile.
    """
    transaction = Transaction(dataset.version, LanceOperation.CreateIndex(list(segments), list(removed)))
    options = lance_options(dataset.uri, storage)
    try:
        return lance.LanceDataset.commit(dataset, transaction, storage_options=options)
    except OSError as error:
        raise TableError(
            f"{dataset.uri}: the index was built and not published: its rows were compacted or replaced, or another "
            f"index was made meanwhile; run the same command again ({str(error).splitlines()[0]})"
        ) from error


def discard(dataset: "lance.LanceDataset", segments: Sequence[Index], storage: StorageOptions) -> None:
    """Delete the files of segments that were never published."""
    _delete(dataset.uri, [f"_indices/{each.uuid}/{file.path}" for each in segments for file in each.files], storage)


def _transaction_files(transaction: Transaction) -> list[str]:
    return [f"_transactions/{transaction.read_version}-{transaction.uuid}.txn"]


def _delete(uri: str, paths: Sequence[str], storage: StorageOptions) -> None:
    store, prefix = object_store(uri, storage)
    for path in paths:
        try:
            obstore.delete(store, f"{prefix.rstrip('/')}/{path}")
        except FileNotFoundError:
            continue
        except BaseError as error:
            raise OSError(f"{uri}: cannot delete {path}: {error}") from error
