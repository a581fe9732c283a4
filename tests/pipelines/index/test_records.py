"""The record of an index speaks of the index that is in force, and of no other."""

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from operators.base.arrays import vectors_from_numpy
from operators.storage.artifacts import ArtifactRef
from pipelines.index.records import (
    INDEX_PREFIX,
    IndexRecord,
    forget_index_records,
    read_index_record,
    unindexed_rows,
    write_index_record,
)
from pipelines.table.errors import TableError
from pipelines.table.table import Table

RECORD = IndexRecord(
    name="vector_a",
    type="IVF_FLAT",
    metric="cosine",
    parameters={"num_partitions": 2},
    model=ArtifactRef(uri="/x", sha256="0" * 64),
    sample_rows=100,
    seed=0,
    nprobes=2,
    refine=None,
    recall=1.0,
    target_recall=0.95,
    k=10,
    queries=10,
    p50_ms=1.0,
    p99_ms=2.0,
    rows=300,
    segments=1,
    size_bytes=1000,
    seconds=1.0,
    built_at="2026-11-26T00:00:00+00:00",
    versions={"pylance": "14.0.2"},
)


def table(uri: str, rows: int) -> "lance.LanceDataset":
    vectors = np.random.default_rng(rows).normal(size=(rows, 8)).astype("f4")
    return lance.write_dataset(pa.table({"vector": vectors_from_numpy(vectors)}), uri, mode="append")


def indexed(uri: str, name: str) -> "lance.LanceDataset":
    dataset = lance.dataset(uri)
    dataset.create_index("vector", "IVF_FLAT", name=name, metric="cosine", num_partitions=2, replace=True)
    return lance.dataset(uri)


def test_a_record_is_read_back_while_its_index_is_there(tmp_path: Path) -> None:
    uri = str(tmp_path / "t.lance")
    table(uri, 300)
    assert read_index_record(lance.dataset(uri), "vector") is None
    write_index_record(Table.of(uri), RECORD)
    assert read_index_record(lance.dataset(uri), "vector") is None, "there is a record and no index"
    assert read_index_record(indexed(uri, "vector_a"), "vector") == RECORD
    lance.dataset(uri).drop_index("vector_a")
    assert read_index_record(indexed(uri, "made_by_hand"), "vector") is None
    forget_index_records(Table.of(uri), ["vector_a", "made_by_hand"])
    assert not [key for key in lance.dataset(uri).metadata if key.startswith(INDEX_PREFIX)]


def test_rows_that_came_after_the_index_are_counted(tmp_path: Path) -> None:
    uri = str(tmp_path / "t.lance")
    assert unindexed_rows(table(uri, 300), "vector") == 300
    assert unindexed_rows(indexed(uri, "vector_a"), "vector") == 0
    table(uri, 7)
    lance.dataset(uri).delete("vector is null")
    assert unindexed_rows(table(uri, 5), "vector") == 12


def test_a_record_of_another_release_is_refused(tmp_path: Path) -> None:
    uri = str(tmp_path / "t.lance")
    table(uri, 300)
    indexed(uri, "vector_a")
    lance.dataset(uri).update_metadata({INDEX_PREFIX + "vector_a": '{"name": "vector_a"}'})
    with pytest.raises(TableError, match="pixlake index"):
        read_index_record(lance.dataset(uri), "vector")
