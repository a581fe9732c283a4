"""A block's images are in memory once, however many they are."""

import tracemalloc
from pathlib import Path

import pytest

from operators.fetch import FetchConfig
from operators.fetching.files import ALONE_BYTES
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


def test_small_files_lie_one_behind_the_other_in_memory_that_is_used_again(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.bin" for number in range(90)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 100_000)
    paths[1].write_bytes(b"")
    paths[2].write_bytes(b"few")
    paths[60].write_bytes(b"x" * (ALONE_BYTES + 1))
    expected = [path.read_bytes() for path in paths] + [None]
    operator = FetchConfig(allowed_roots=(str(tmp_path),)).build()
    batch = batch_of(*map(str, paths), str(tmp_path / "nowhere.jpg"))
    pieces = []
    for _ in range(2):
        images = operator(batch)["image_bytes"]
        images.validate(full=True)
        assert images.to_pylist() == expected
        # Three pieces, two of them cut by what is no part of them, and these.
        assert [len(chunk) for chunk in images.chunks] == [43, 17, 1, 24, 5, 1]
        pieces.append({images.chunk(first).buffers()[2].address for first in (0, 1, 4)})
        del images
    operator.close()
    assert pieces[0] == pieces[1]
