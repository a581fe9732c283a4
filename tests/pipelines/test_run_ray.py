"""How the manifest reaches the actors: full blocks, few tasks. One small Ray for the file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import run_ray
from pipelines.manifest import Columns, Shard
from pipelines.sources import Source
from pipelines.work import ShardWork

pytestmark = pytest.mark.ray
NO_TIMEOUT = 60.0


@pytest.fixture(scope="module")
def ray_data() -> Iterator[Any]:
    import ray
    import ray.data

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    run = run_ray.RayRun(block_rows=64, rows_per_fragment=64, num_writers=1, no_progress_timeout_s=NO_TIMEOUT)
    run_ray._configure(ray.data.DataContext.get_current(), run)
    yield ray.data
    ray.shutdown()


@pytest.fixture
def work(tmp_path: Path) -> list[ShardWork]:
    """Three shards of 100 rows."""
    path = tmp_path / "manifest.parquet"
    uris = [f"/images/{row}.jpg" for row in range(300)]
    pq.write_table(pa.table({"uri": uris}), path, row_group_size=100)
    shards = [
        Shard(number=n, path=str(path), row_groups=range(n, n + 1), first_row=100 * n, num_rows=100) for n in range(3)
    ]
    return [ShardWork(shard=s, shard_number=s.number, wanted_bits=None, num_wanted=100) for s in shards]


def read(work: list[ShardWork]) -> Any:
    return run_ray._read(Source(columns=Columns()), work, 64)


def test_small_shards_are_read_together_into_full_blocks(ray_data: Any, work: list[ShardWork]) -> None:
    blocks = list(read(work).iter_batches(batch_size=None, batch_format="pyarrow"))
    assert sorted(block.num_rows for block in blocks) == [44, 64, 64, 64, 64]
    rows = sorted((s, r) for b in blocks for s, r in zip(b["shard"].to_pylist(), b["row"].to_pylist(), strict=True))
    assert rows == [(shard, row) for shard in range(3) for row in range(100)]


def test_large_shards_are_read_side_by_side(
    ray_data: Any, work: list[ShardWork], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_ray, "READ_ROWS", 100)
    blocks = list(read(work).iter_batches(batch_size=None, batch_format="pyarrow"))
    assert sorted(block.num_rows for block in blocks) == [36, 36, 36, 64, 64, 64]
