"""A block's images are in memory once, however many they are."""

import tracemalloc
from pathlib import Path

import pytest

from operators.fetch import FetchConfig
from tests.operators.test_fetch import batch_of

MIB = 1 << 20


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """25 files of a MiB, none like another, and an empty one."""
    made = [tmp_path / f"{number}.bin" for number in range(26)]
    for number, path in enumerate(made):
        path.write_bytes(bytes([number]) * (MIB if number != 13 else 0))
    return made


def test_images_lie_where_they_were_read(files: list[Path]) -> None:
    operator = FetchConfig(allowed_roots=(str(files[0].parent),)).build()
    batch = batch_of(*map(str, files), str(files[0].parent / "nowhere.jpg"))
    tracemalloc.start()
    try:
        found = operator(batch)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        operator.close()
    # A copy of one more would be 26 MiB.
    assert 25 * MIB < most < 25.9 * MIB
    assert found["image_bytes"].to_pylist() == [path.read_bytes() for path in files] + [None]
    assert found["size_bytes"].to_pylist() == [path.stat().st_size for path in files] + [None]
