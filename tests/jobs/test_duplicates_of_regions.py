"""`pixlake duplicates` of a table with a row for each region: duplicates lie in other images, and what is deleted are
whole images."""

import hashlib
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.delete import DeleteConfig
from jobs.delete import as_text as delete_text
from jobs.delete import run as delete
from jobs.duplicates import Duplicates, DuplicatesConfig, as_text, run
from jobs.web.groups import alike_groups, alike_of, duplicates_of
from made import vectors as made_vectors
from operators.base.arrays import vectors_from_numpy
from operators.base.columns import REGION, REGION_ID, REGIONS
from operators.base.errors import UserError
from operators.storage.stores import NO_OPTIONS
from pipelines.commits.sink import FAILURES_SCHEMA
from pipelines.overview.duplicate_groups import read_duplicate_groups
from pipelines.table.fenced_table import FencedTable
from pipelines.table.names import TableNames
from pipelines.table.table import Table

DIM, IMAGES, EACH = 32, 12, 4
COPY = {10: 0}
"""Image -> the image of which it is a byte copy, with the same boxes."""
NEAR = {(3, 1): (2, 0), (3, 2): (2, 3), (5, 0): (4, 0)}
"""(image, region) -> the region of another image that it is nearly like."""
OVERLAPPING = {(7, 1): (7, 0), (7, 2): (7, 0), (8, 1): (8, 0)}
"""Nearly like a region of the same image, as overlapping boxes are."""
BLANK = ((6, 0), (6, 1), (9, 0), (9, 1))
"""Regions with one and the same vector."""


def region(image: int, index: int) -> dict[str, Any]:
    # Of the blank ones, those of image 9 are larger.
    side = 20.0 if image == 9 and index < 2 else 10.0
    box = {"x0": index * 30.0, "y0": 0.0, "x1": index * 30.0 + side, "y1": side}
    return {"kind": "box", "index": index, "box": box, "label": None, "score": None}


def make(folder: Path) -> str:
    random = np.random.default_rng(5)
    vectors = random.normal(size=(IMAGES, EACH, DIM))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    for place, of in (NEAR | OVERLAPPING).items():
        noise = random.normal(size=DIM)
        noise -= noise @ vectors[of] * vectors[of]
        vectors[place] = 0.99 * vectors[of] + np.sqrt(1 - 0.99**2) * noise / np.linalg.norm(noise)
    for place in BLANK:
        vectors[place] = vectors[BLANK[0]]
    for image, of in COPY.items():
        vectors[image] = vectors[of]
    rows = made_vectors.rows_of(vectors_from_numpy(vectors.reshape(-1, DIM).astype(np.float32)), 0)
    images = np.repeat(np.arange(IMAGES), EACH)
    digests = [hashlib.sha256(str(COPY.get(image, image)).encode()).hexdigest() for image in images.tolist()]
    regions = [region(image, index) for image in range(IMAGES) for index in range(EACH)]
    names = [f"i{image}" for image in images]
    columns = {
        "id": pa.array(names),
        "row": pa.array(images.astype("i4")),
        "sha256": pa.array(digests),
        "width": pa.array([100] * len(names)),
        "height": pa.array([100] * len(names)),
        REGION.name: pa.array(regions, REGION.type),
        REGION_ID.name: pa.array([f"{name}#{each['index']}" for name, each in zip(names, regions, strict=True)]),
    }
    for name, values in columns.items():
        at = rows.schema.get_field_index(name)
        rows = rows.append_column(name, values) if at < 0 else rows.set_column(at, rows.schema.field(name), values)
    table = f"{folder}/lake/parts"
    made_vectors.append(table, rows)
    FencedTable.create_or_open(TableNames.from_table(table).failures, FAILURES_SCHEMA, NO_OPTIONS)
    return table


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make(tmp_path_factory.mktemp("regions"))


def find(table: str, **given: Any) -> Duplicates:
    return run(DuplicatesConfig(table=table, **given))


def told(table: str) -> set[tuple[str, ...]]:
    """The region ids of each group, the kept one first."""
    found: dict[int, list[str]] = {}
    for row in lance.dataset(f"{table}__duplicates.lance").to_table().to_pylist():
        assert row["kept"] == (row["group"] not in found)
        found.setdefault(row["group"], []).append(row["region_id"])
    return {tuple(each) for each in found.values()}


GROUPS = {
    ("i2#0", "i3#1"),
    ("i2#3", "i3#2"),
    ("i4#0", "i5#0"),
    # The second blank part of image 9 is of the image of the one that stays.
    ("i9#0", "i6#0", "i6#1"),
    *((f"i0#{index}", f"i10#{index}") for index in range(EACH)),
}


def test_duplicates_of_a_region_lie_in_other_images(table: str) -> None:
    found = find(table)
    assert told(table) == GROUPS
    assert (found.regions, found.rows, found.drop, found.exact, found.near) == (True, 48, 9, 4, 5)
    assert found.pairs == 3
    text = as_text(found)
    assert "8 groups of duplicates among 48 regions" in text
    assert "4 rows with the bytes and the box of the region that stays" in text
    rows = {row["region_id"]: row for row in lance.dataset(f"{table}__duplicates.lance").to_table().to_pylist()}
    assert (rows["i10#2"]["match"], rows["i10#2"]["kept_region_id"], rows["i10#2"]["kept_id"]) == (
        "exact",
        "i0#2",
        "i0",
    )
    assert (rows["i3#1"]["match"], rows["i3#1"]["id"], rows["i3#1"]["drop"]) == ("near", "i3", True)


@pytest.mark.parametrize("linkage", ["leader", "chain"])
def test_the_same_is_found_among_cells(table: str, monkeypatch: pytest.MonkeyPatch, linkage: Any) -> None:
    monkeypatch.setattr("jobs.duplicates.EXACT_ROWS", 10)
    found = find(table, linkage=linkage)
    assert told(table) == GROUPS
    assert found.coverage.recall == 1


def test_all_that_is_compared_is_of_different_images(table: str) -> None:
    """At a threshold where all regions are alike, those of one image are no duplicates of each other."""
    found = find(table, threshold=1e-9, where="id IN ('i7', 'i8')")
    for kept, *others in told(table):
        assert kept.partition("#")[0] not in {other.partition("#")[0] for other in others}
    assert found.rows == 8


def test_an_image_is_deleted_once_all_its_regions_are_duplicates(tmp_path: Path) -> None:
    table, out = make(tmp_path), str(tmp_path / "drop.parquet")
    with pytest.raises(UserError, match=r"a \.txt holds ids of images"):
        find(table, out=str(tmp_path / "drop.txt"))
    assert f"--ids {out} --whole-images --dry-run" in as_text(find(table, out=out))
    with pytest.raises(UserError, match="names regions, and an image's regions stay or go together"):
        delete(DeleteConfig(table=table, ids=out))
    with pytest.raises(UserError, match="what was deleted are images"):
        delete(DeleteConfig(table=table, ids=out, forget=True, whole_images=True))
    would = delete(DeleteConfig(table=table, ids=out, whole_images=True, dry_run=True))
    assert (would.ids, would.vectors, would.images_left) == (1, EACH, 3)
    # One region of the copy has another box than the one that stays: written by another tool.
    lacking = pq.read_table(out).drop_columns(["kept_sha256"])
    pq.write_table(lacking, tmp_path / "lacking.parquet")
    with pytest.raises(UserError, match="lacks kept_sha256"):
        delete(DeleteConfig(table=table, ids=str(tmp_path / "lacking.parquet"), whole_images=True))
    done = delete(DeleteConfig(table=table, ids=out, whole_images=True))
    assert (done.ids, done.vectors, done.images_left) == (1, EACH, 3)
    assert "3 images of the file left out: not all of its regions are duplicates" in delete_text(done)
    left = lance.dataset(f"{table}.lance").to_table(columns=["id"])["id"].to_pylist()
    assert set(left) == {f"i{image}" for image in range(IMAGES)} - {"i10"}
    # What is to stay goes meanwhile: nothing more is deleted by the same file.
    delete(DeleteConfig(table=table, id=("i0",)))
    assert delete(DeleteConfig(table=table, ids=out, whole_images=True, dry_run=True)).ids == 0


def test_pages_show_the_regions_that_are_alike(table: str) -> None:
    find(table)
    named = Table.of(table)
    dataset, found = named.latest(), duplicates_of(named)
    shown = alike_groups(dataset, found, -1, 20)
    assert {tuple(each.row.values["region_id"] for each in group.images) for group in shown.groups} == GROUPS
    own = alike_of(dataset, found, "i6#1")
    assert own is not None
    assert [each.row.values["region_id"] for each in own.images] == ["i9#0", "i6#0", "i6#1"]
    groups = read_duplicate_groups(named, 20, 5)
    assert groups is not None
    assert groups.regions
    assert {tuple(group.ids) for group in groups.largest} == GROUPS


def test_several_vectors_in_a_row_are_refused(tmp_path: Path) -> None:
    vectors = pa.array([[[1.0] * 4] * 2] * 3, pa.list_(pa.list_(pa.float32(), 4)))
    rows = made_vectors.rows_of(vectors, 0).append_column(REGIONS, pa.nulls(3, REGIONS.type))
    made_vectors.append(str(tmp_path / "lake" / "several"), rows)
    with pytest.raises(UserError, match=r"all its vectors in one row.*regions\.layout=rows"):
        find(str(tmp_path / "lake" / "several"))
