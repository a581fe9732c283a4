"""What came between two versions, by position and by bytes."""

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from operators.base.errors import UserError
from pipelines.drift.arrivals import find_arrivals

SCHEMA = pa.schema([("shard", pa.int32()), ("row", pa.int32()), ("sha256", pa.string())])


def version(folder: Path, rows: list[tuple[int, int, str | None]], schema: pa.Schema = SCHEMA) -> "lance.LanceDataset":
    table = pa.table([pa.array(each) for each in zip(*rows, strict=True)], schema=SCHEMA)
    uri = str(folder / f"{len(list(folder.iterdir()))}.lance")
    return lance.write_dataset(table.select(schema.names), uri, max_rows_per_file=3)


def test_rows_at_new_positions_with_new_bytes_came(tmp_path: Path) -> None:
    before = version(tmp_path, [(0, 0, "a"), (0, 1, "b"), (0, 2, None)])
    after = version(
        tmp_path, [(1, 5, "d"), (0, 0, "a"), (1, 0, "b"), (1, 1, "c"), (1, 1, "c"), (2, 0, None), (0, 1, "changed")]
    )
    found = find_arrivals(before, after)
    # A position that was there is not new, whatever stands there now; without a sha256 nothing is known of the bytes.
    assert found.places.tolist() == [0, 3, 4, 5]
    assert (found.images, found.carried, found.left) == (3, 1, 1)


def test_nothing_came(tmp_path: Path) -> None:
    before = version(tmp_path, [(0, 0, "a"), (0, 1, "b")])
    found = find_arrivals(before, before)
    assert (len(found.places), found.images, found.carried, found.left) == (0, 0, 0, 0)


def test_a_table_without_bytes_or_without_positions(tmp_path: Path) -> None:
    plain = SCHEMA.remove(2)
    before = version(tmp_path, [(0, 0, "a")], plain)
    after = version(tmp_path, [(0, 0, "a"), (0, 1, "a")], plain)
    assert find_arrivals(before, after).places.tolist() == [1]
    with pytest.raises(UserError, match="has no column shard, by which Pixlake tells what came when"):
        find_arrivals(version(tmp_path, [(0, 0, "a")], SCHEMA.remove(0)), after)


def test_many_rows_with_half_of_their_bytes_known(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    held = [f"{each:x}" for each in random.integers(0, 2**62, 2000)]
    before = version(tmp_path, [(0, row, sha) for row, sha in enumerate(held)])
    came = [*held[:500], *(f"new {row}" for row in range(500))]
    mixed = random.permutation(1000)
    after = version(tmp_path, [(1, row, came[at]) for row, at in enumerate(mixed)])
    found = find_arrivals(before, after)
    assert found.places.tolist() == np.flatnonzero(mixed >= 500).tolist()
    assert (found.carried, found.left) == (500, 2000)
