"""LanceDB's own data API for training: our tables split, shuffled and read through `lancedb.permutation`."""

from pathlib import Path
from typing import Any

import lance
import lancedb
import numpy as np
import pytest
import torch
from lance import LanceOperation
from lance.dataset import Transaction
from lancedb.permutation import Permutation, permutation_builder

from made.tables import SCHEMA, SPACE, batch, names_in, open_committer, positions, read, sink_of, vector_of
from pipelines.table.names import TableNames
from pipelines.table.open import open_existing
from pipelines.table.table import Table

ROWS = 60


@pytest.fixture
def names(tmp_path: Path) -> TableNames:
    names = names_in(tmp_path)
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(shard, range(ROWS // 3))) for shard in range(3)])
    return names


def splits(names: TableNames) -> tuple[Any, Any]:
    """48 rows to train with and 12 to test with, shuffled."""
    table = lancedb.connect(names.database).open_table(names.name)
    order = permutation_builder(table).split_random(ratios=[0.8, 0.2], seed=1).shuffle(seed=2).execute()
    return tuple(Permutation.from_tables(table, order, split) for split in (0, 1))


def made_by_an_earlier_release(names: TableNames) -> None:
    """Its mark stood in the Arrow schema's metadata, and nowhere else."""
    for uri in (names.vectors, names.failures):
        dataset = lance.dataset(uri)
        key = "pixlake.format"
        operation = LanceOperation.UpdateConfig(
            table_metadata_updates=LanceOperation.UpdateMap({key: None}),
            schema_metadata_updates=LanceOperation.UpdateMap({key: "1"}),
        )
        lance.LanceDataset.commit(dataset, Transaction(dataset.version, operation))


def test_a_table_is_split_and_shuffled_and_every_row_read_once_with_its_vector(names: TableNames) -> None:
    seen = []
    for split in splits(names):
        for part in split.with_format("arrow").iter(8, skip_last_batch=False):
            for row in part.to_pylist():
                assert np.array_equal(np.float16(row["vector"]), vector_of(row["shard"], row["row"]))
                seen.append((row["shard"], row["row"]))
    assert len(seen) == ROWS == len(set(seen))
    assert seen != sorted(seen)
    assert {len(split) for split in splits(names)} == {48, 12}


def test_a_vector_reaches_torch_as_the_page_says(names: TableNames) -> None:
    train = splits(names)[0].select_columns(["vector", "row", "shard"]).with_format("arrow")
    part = next(iter(train.iter(16, skip_last_batch=True)))
    vectors = torch.from_numpy(part["vector"].flatten().to_numpy().reshape(len(part), -1).copy())
    assert (vectors.shape, vectors.dtype) == ((16, 8), torch.float16)
    rows = zip(part["shard"].to_pylist(), part["row"].to_pylist(), strict=True)
    assert all(np.array_equal(v, vector_of(*at)) for v, at in zip(vectors.numpy(), rows, strict=True))


def test_a_table_of_an_earlier_release_is_known_and_a_run_moves_its_mark(names: TableNames) -> None:
    made_by_an_earlier_release(names)
    info = open_existing(Table(names=names))
    assert info is not None
    assert info.made_by_pixlake
    committer = open_committer(names, "later")
    committer.commit([sink_of(names).write(batch(3, range(5), failed=[1]))])
    for uri in (names.vectors, names.failures):
        dataset = lance.dataset(uri)
        assert (dataset.metadata["pixlake.format"], dataset.schema.metadata) == ("1", None)
    dataset = lance.dataset(names.vectors)
    assert dataset.schema.field("vector").metadata == SPACE
    assert dataset.schema.equals(SCHEMA)
    assert sum(read(names.vectors).values()) == ROWS + 4
    assert read(names.failures) == positions(3, [1])
    assert sum(len(split) for split in splits(names)) == ROWS + 4
