"""What a manifest is known by should it be written anew: its rows and their places, nothing of how they are written."""

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made.manifests import manifest_of
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.manifest import SourceConfig
from pipelines.sources.content_digest import ColumnHashes, content_digest


def digest(folder: Path, table: pa.Table, name: str = "m.parquet", **written: object) -> str | None:
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / name, **written)
    config = SourceConfig(uri=str(folder / name), id_column="id", keep=("kept",))
    return content_digest(manifest_of(config, NO_OPTIONS, str(folder / "work")), NO_OPTIONS)


def rows(count: int = 100) -> pa.Table:
    ids = [f"i{number}" for number in range(count)]
    kept = [None if number % 7 == 0 else number for number in range(count)]
    return pa.table({"id": ids, "uri": [f"{each}.png" for each in ids], "kept": kept})


def test_how_the_rows_are_written_does_not_count(tmp_path: Path) -> None:
    first = digest(tmp_path, rows())
    assert first is not None
    assert digest(tmp_path, rows()) == first
    assert digest(tmp_path, rows(), row_group_size=9, compression="zstd", use_dictionary=False) == first
    other = rows().append_column("more", pa.array(range(100))).select(["more", "kept", "uri", "id"])
    assert digest(tmp_path, other, "other.parquet") == first
    large = rows().set_column(1, "uri", rows()["uri"].cast(pa.large_string()))
    assert digest(tmp_path, large) == first
    assert digest(tmp_path, rows().set_column(1, "uri", rows()["uri"].dictionary_encode())) == first


@pytest.mark.parametrize("column", ["id", "uri", "kept"])
def test_any_value_counts_and_its_place(tmp_path: Path, column: str) -> None:
    first = digest(tmp_path, rows())
    values = rows()[column].to_pylist()
    at = rows().schema.get_field_index(column)
    for changed in ([*values[:50], None, *values[51:]], [*values[1:2], *values[:1], *values[2:]], values[:99]):
        table = rows().slice(0, len(changed)).set_column(at, column, pa.array(changed))
        assert digest(tmp_path, table) != first


def test_relative_uris_are_others_in_another_folder(tmp_path: Path) -> None:
    assert digest(tmp_path / "a", rows()) != digest(tmp_path / "b", rows())


def test_lines_are_compared_and_a_listing_is_not(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("uri,n\na.png,1\nb.png,2\n")
    config = SourceConfig(uri=str(path), keep=("n",), rows_per_shard=10)

    def of(source: SourceConfig) -> str | None:
        return content_digest(manifest_of(source, NO_OPTIONS, str(tmp_path / "work")), NO_OPTIONS)

    first = of(config)
    path.write_text('"uri","n"\r\na.png,1\r\nb.png,2')
    assert first is not None
    assert of(config) == first
    path.write_text("uri,n\na.png,1\nb.png,3\n")
    assert of(config) != first
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"x")
    assert of(SourceConfig(uri=str(tmp_path / "images"))) is None


TYPES = st.deferred(
    lambda: st.one_of(
        st.tuples(st.just(pa.int32()), st.just(st.integers(-5, 5))),
        st.tuples(st.just(pa.bool_()), st.just(st.booleans())),
        st.tuples(st.just(pa.string()), st.just(st.text("ab", max_size=3))),
        st.tuples(st.just(pa.float32()), st.just(st.sampled_from([0.5, -1.0]))),
        st.tuples(st.just(pa.decimal128(5, 2)), st.just(st.sampled_from([Decimal("1.25"), Decimal("-3.50")]))),
        TYPES.map(lambda each: (pa.list_(each[0]), st.lists(st.none() | each[1], max_size=3))),
        TYPES.map(lambda each: (pa.list_(each[0], 2), st.lists(st.none() | each[1], min_size=2, max_size=2))),
        TYPES.map(lambda each: (pa.struct([("a", each[0])]), (st.none() | each[1]).map(lambda value: {"a": value}))),
    )
)


@given(st.data())
def test_columns_are_told_apart_by_values_and_not_by_batches(data: st.DataObject) -> None:
    kind, value = data.draw(TYPES)
    one, two = (data.draw(st.lists(st.none() | value, max_size=6)) for _ in range(2))

    def hashed(values: list[object], cut: int) -> str:
        array, hashes = pa.array(values, kind), ColumnHashes()
        for part in (array[:cut], array[cut:]):
            hashes.add("c", part)
        return hashes.digest("c")

    assert hashed(one, 0) == hashed(one, data.draw(st.integers(0, 6)))
    assert (hashed(one, 0) == hashed(two, 0)) == (pa.array(one, kind).equals(pa.array(two, kind)))
