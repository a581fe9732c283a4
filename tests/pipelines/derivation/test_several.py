"""Several columns made at once: in one file, together, and told by the first of them."""

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from made.derived import embed
from made.tables import names_in, vector_of
from operators.base.arrays import vectors_to_numpy
from pipelines.derivation.column import derive_columns
from pipelines.derivation.filling import DeriveReport
from pipelines.table.errors import RefusedError
from pipelines.table.table import Table

COLUMNS = pa.schema(
    [
        pa.field("largest", pa.int32(), metadata={b"made.by": b"test"}),
        pa.field("size", pa.float32(), metadata={b"made.by": b"test"}),
        pa.field("name", pa.string(), metadata={b"made.by": b"test"}),
    ]
)


def compute(rows: pa.Table) -> list[pa.Array]:
    """Of no row whose largest number is the first is anything known; the name is null of others too."""
    vectors = vectors_to_numpy(rows["vector"]).astype(np.float32)
    largest = vectors.argmax(1).astype(np.int32)
    names = pa.array([f"n{each}" if each > 3 else None for each in largest], pa.string())
    return [pa.array(largest, mask=largest == 0), pa.array(vectors.max(1)), names]


def fill(table: Table) -> DeriveReport:
    return derive_columns(table, COLUMNS, "vector", compute)


def check(table: Table, shards: int) -> None:
    found = lance.dataset(table.uri).to_table(columns=["shard", "row", *COLUMNS.names]).to_pylist()
    assert len(found) == 40 * shards
    for each in found:
        vector = vector_of(each["shard"], each["row"]).astype(np.float32)
        largest = int(vector.argmax())
        assert each["largest"] == (largest or None)
        assert each["size"] == vector.max()
        assert each["name"] == (f"n{largest}" if largest > 3 else None)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    made = Table(names=names_in(tmp_path))
    embed(made.names, range(3))
    return made


def test_each_row_has_all_of_them_whatever_comes_and_is_compacted(table: Table) -> None:
    report = fill(table)
    check(table, 3)
    assert (report.fragments, report.commits, report.rows + report.impossible) == (3, 1, 120)
    assert report.impossible > 0
    assert all(len(each.metadata.files) == 2 for each in lance.dataset(table.uri).get_fragments())
    assert fill(table).commits == 0
    embed(table.names, range(3, 5))
    # Now filled and unfilled rows share a fragment, and its file.
    lance.dataset(table.uri).optimize.compact_files()
    assert fill(table).fragments == 1
    check(table, 5)
    assert fill(table).commits == 0


def test_some_without_the_others_are_refused(table: Table) -> None:
    fill(table)
    lance.dataset(table.uri).drop_columns(["size"])
    with pytest.raises(RefusedError, match="has largest, name and lacks size, which are made together"):
        fill(table)


def as_doubles(rows: pa.Table) -> list[pa.Array]:
    first, size, name = compute(rows)
    return [first, size.cast(pa.float64()), name]


def test_what_is_not_as_promised_is_an_error(table: Table) -> None:
    with pytest.raises(ValueError, match="size: 40 values of double for 40 rows, expected float"):
        derive_columns(table, COLUMNS, "vector", as_doubles)
