"""A Parquet manifest whose row groups are huge: read in bounded memory, each row once and in its place."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from made.manifests import manifest_of
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.manifest import Manifest, SourceConfig
from pipelines.sources.source import Source
from pipelines.sources.work import PIECE_BYTES, ShardWork, shard_work

ROWS, TEXT_BYTES = 500, 100_000


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """One row group of 50 MB, nearly all of it in one column of text."""
    folder = tmp_path_factory.mktemp("wide")
    letters = np.random.default_rng(0).integers(97, 123, TEXT_BYTES + ROWS, np.uint8).tobytes().decode()
    columns = {
        "uri": [f"https://h/{row}.jpg" for row in range(ROWS)],
        "text": [letters[row : row + TEXT_BYTES] for row in range(ROWS)],
    }
    pq.write_table(pa.table(columns), folder / "wide.parquet", row_group_size=ROWS, use_dictionary=False)
    config = SourceConfig(uri=str(folder / "wide.parquet"), keep=("text",))
    return manifest_of(config, NO_OPTIONS, str(folder / "work"))


def work_of(manifest: Manifest, num_bytes: int | None = None) -> ShardWork:
    (shard,) = manifest.shards
    shard = shard if num_bytes is None else replace(shard, num_bytes=num_bytes)
    work = shard_work(shard, shard.number, np.ones(shard.num_rows, bool))
    assert work is not None
    return work


def test_batches_are_small_where_texts_are_long(manifest: Manifest) -> None:
    assert manifest.shards[0].num_bytes > ROWS * TEXT_BYTES
    tables = list(Source(columns=manifest.columns).read(work_of(manifest), 8192))
    assert max(table.nbytes for table in tables) < 9 << 20
    joined = pa.concat_tables(tables)
    assert joined["row"].to_pylist() == list(range(ROWS))
    assert {len(text) for text in joined["text"].to_pylist()} == {TEXT_BYTES}
    lean = list(Source(columns=replace(manifest.columns, kept=())).read(work_of(manifest), 8192))
    assert [table.num_rows for table in lean] == [ROWS], "of a column that is not read nothing is counted"


def test_on_a_cluster_it_is_several_tasks_with_each_row_once(manifest: Manifest) -> None:
    source = Source(columns=replace(manifest.columns, kept=()))
    tasks = source.read_tasks([work_of(manifest, num_bytes=4 * PIECE_BYTES)])
    assert [len(task) for task in tasks] == [1, 1, 1, 1]
    rows = [table["row"].to_pylist() for task in tasks for item in task for table in source.read(item, 100)]
    assert [row for each in rows for row in each] == list(range(ROWS))
    assert {table.num_rows for task in tasks for table in source.read(task[0], 8192)} == {ROWS // 4}
