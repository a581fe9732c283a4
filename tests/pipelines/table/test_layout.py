import lance
import numpy as np
import pyarrow as pa
import pytest

from made.regions import (
    LAYOUTS,
    MULTIVECTOR,
    ROWS,
    VECTORS,
    all_regions,
    num_regions,
    read_regions,
    region_batch,
    region_committer,
    region_of,
    region_sink,
    vector_of,
)
from made.tables import SCHEMA, SPACE, batch, names_in, open_committer, sink_of
from operators.base.columns import REGION, REGION_ID, REGIONS
from pipelines.table import layout as region_layout
from pipelines.table.layout import check_regions, explode_regions, layout_of

BOTH = pytest.mark.parametrize("layout", ["rows", "multivector"])


def test_a_table_says_by_its_columns_how_it_keeps_regions(tmp_path):
    assert (layout_of(SCHEMA), layout_of(ROWS), layout_of(MULTIVECTOR)) == (None, "rows", "multivector")
    assert layout_of(pa.schema([pa.field("region", pa.string()), pa.field("regions", pa.list_(pa.string()))])) is None
    names = names_in(tmp_path)
    for layout in LAYOUTS:
        region_committer(names_in(tmp_path / layout), layout)
        assert layout_of(lance.dataset(names_in(tmp_path / layout).vectors).schema) == layout
    open_committer(names)
    assert layout_of(lance.dataset(names.vectors).schema) is None


def test_each_region_is_a_row_with_all_that_its_image_has():
    images = region_batch(2, [3, 4, 5])
    rows = explode_regions(images, ["vector"]).to_pylist()
    assert [(row["id"], row["region_id"], row["region"]["index"]) for row in rows] == [
        (f"id-2-{row}", f"id-2-{row}#{index}", index) for row in (3, 4, 5) for index in range(num_regions(row))
    ]
    for row in rows:
        index = row["region"]["index"]
        assert row["region"] == region_of(row["row"], index)
        assert np.array_equal(np.array(row["vector"], "f2"), vector_of(2, row["row"], index))
        assert (row["label"], row["meta"]) == (f"l{row['row']}", {"a": row["row"], "tags": ["x"]})
    assert "regions" not in rows[0]


def test_no_images_are_no_rows_of_the_same_columns():
    some, none = (explode_regions(region_batch(0, rows), ["vector"]) for rows in ([1], []))
    assert none.num_rows == 0
    assert none.schema == some.schema


def test_many_images_are_taken_piece_by_piece(monkeypatch):
    images = region_batch(0, range(20))
    whole = explode_regions(images, ["vector"])
    for size in (1, 5, 7):
        monkeypatch.setattr(region_layout, "_ROWS_AT_ONCE", size)
        assert (
            explode_regions(images.slice(2, 15), ["vector"]).combine_chunks()
            == explode_regions(images, ["vector"])
            .filter(pa.compute.is_in(whole["row"], pa.array(range(2, 17), pa.int32())))
            .combine_chunks()
        )


def _with(images: pa.Table, name: str, values: list[object]) -> pa.Table:
    index = images.schema.get_field_index(name)
    return images.set_column(index, images.schema.field(index), pa.array(values, images.schema.field(index).type))


def test_images_whose_regions_are_not_whole_are_refused():
    images = region_batch(0, [0, 1, 2])
    regions, vectors = images["regions"].to_pylist(), images["vector"].to_pylist()
    check_regions(images, ["vector"])
    with pytest.raises(ValueError, match=r"no region and no error class at \(shard, row\) \(0, 1\), \(0, 2\)"):
        check_regions(_with(images, "regions", [regions[0], [], None]), ["vector"])
    with pytest.raises(ValueError, match=r"not one vector a region in vector at \(shard, row\) \(0, 2\)"):
        check_regions(_with(images, "vector", [*vectors[:2], vectors[2][:-1]]), ["vector"])
    with pytest.raises(ValueError, match=r"no vector for a region in vector at \(shard, row\) \(0, 1\)"):
        check_regions(_with(images, "vector", [vectors[0], [None, vectors[1][1]], vectors[2]]), ["vector"])
    with pytest.raises(ValueError, match=r"not numbered 0, 1, … at \(shard, row\) \(0, 2\)"):
        check_regions(_with(images, "regions", [*regions[:2], regions[2][::-1]]), ["vector"])


@BOTH
def test_all_regions_of_an_image_are_in_one_receipt_which_counts_the_image_once(tmp_path, layout):
    names = names_in(tmp_path)
    committer = region_committer(names, layout)
    receipt = region_sink(names, layout).write(region_batch(3, range(10), failed=[2, 5]))
    assert (len(receipt.vector_keys), len(receipt.failure_keys), receipt.size_bytes) == (8, 2, 800)
    published = committer.commit([receipt])
    assert (published.vectors, published.failures) == (8, 2)
    assert read_regions(names, layout) == all_regions(3, [0, 1, 3, 4, 6, 7, 8, 9])
    table = lance.dataset(names.vectors).to_table()
    assert table.schema.field("vector").metadata == SPACE
    assert table.schema.remove_metadata() == LAYOUTS[layout].remove_metadata()
    assert "SECRET" not in str(table["uri"].to_pylist())


@BOTH
def test_a_batch_with_a_region_without_a_vector_is_not_written(tmp_path, layout):
    names = names_in(tmp_path)
    region_committer(names, layout)
    images = region_batch(0, [0, 1])
    with pytest.raises(ValueError, match="no vector for a region"):
        region_sink(names, layout).write(_with(images, "vector", [[None], images["vector"].to_pylist()[1]]))
    assert not list(tmp_path.glob("photos.lance/data/*"))


def test_an_image_without_regions_is_not_of_such_a_table_nor_the_other_way_round(tmp_path):
    names = names_in(tmp_path)
    open_committer(names)
    with pytest.raises(ValueError, match="cast"):
        sink_of(names).write(region_batch(0, range(3)))
    with pytest.raises((ValueError, KeyError), match="regions"):
        region_sink(names, "rows").write(batch(0, range(3)))


def test_columns_stand_beside_the_id():
    assert ROWS.names[:5] == ["id", "uri", "region_id", "region", "vector"]
    assert MULTIVECTOR.names[:4] == ["id", "uri", "regions", "vector"]
    assert (ROWS.field("region"), ROWS.field("region_id")) == (REGION, REGION_ID)
    assert MULTIVECTOR.field("regions") == REGIONS
    assert MULTIVECTOR.field("vector").type == VECTORS.type
