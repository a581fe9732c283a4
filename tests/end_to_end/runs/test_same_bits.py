"""The same images, blocks and batches by another number of workers, here and on Ray: the same tables, bit for bit."""

from pathlib import Path

import lance
import pyarrow as pa
import pytest

from end_to_end.command import pixlake, pixlake_here
from made.cut_photographs import photograph

CUT = ("--model", "efficientnet-lite0", "--set", "cluster.block_rows=8", "--set", "cluster.batch_size=8")
HERE = ("--set", "cluster.executor=local", "--set", "decode.isolate=false")


def photographs(folder: Path, count: int) -> str:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:03d}.jpg").write_bytes(photograph(number))
    (folder / "007.jpg").write_bytes(b"no image")
    return str(folder)


def tables(place: str) -> list[pa.Table]:
    """Vectors and failures, in the manifest's order."""
    by_position = [("shard", "ascending"), ("row", "ascending")]
    return [lance.dataset(f"{place}{each}.lance").to_table().sort_by(by_position) for each in ("", "__failures")]


def test_the_number_of_cores_changes_no_bit(tmp_path: Path) -> None:
    images = photographs(tmp_path / "images", 24)
    for cores in (1, 2):
        ended = pixlake_here(
            "embed", images, f"{tmp_path}/lake/on{cores}", *CUT, *HERE, f"--set=cluster.num_cpus={cores}"
        )
        assert ended.code == 0, ended.err
    one, two = (tables(f"{tmp_path}/lake/on{cores}") for cores in (1, 2))
    assert [each.num_rows for each in one] == [23, 1]
    assert one == two


@pytest.mark.ray
@pytest.mark.slow
def test_workers_of_ray_change_no_bit(tmp_path: Path) -> None:
    images = photographs(tmp_path / "images", 64)
    stages = (
        '[{"name": "preprocess", "operators": ["fetch", "decode"], "num_actors": 2},'
        ' {"name": "embed", "operators": ["embed", "normalize"], "num_actors": 2}]'
    )
    on_ray = ("cluster.executor=ray", "cluster.num_cpus=4", "cluster.object_store_bytes=150000000")
    ended = pixlake_here("embed", images, f"{tmp_path}/lake/here", *CUT, *HERE, "--set=cluster.num_cpus=1")
    assert ended.code == 0, ended.err
    sets = (f"--set={each}" for each in (*on_ray, f"cluster.stages={stages}"))
    ended = pixlake("embed", images, f"{tmp_path}/lake/ray", *CUT, *sets)
    assert ended.code == 0, ended.err
    here, there = (tables(f"{tmp_path}/lake/{each}") for each in ("here", "ray"))
    assert [each.num_rows for each in here] == [63, 1]
    assert here == there
