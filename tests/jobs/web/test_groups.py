"""Clusters and near-duplicates as the page shows them, read from what other commands have left."""

from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

from jobs.web.groups import alike_groups, alike_of, duplicates_of, served_clusters
from made.vectors import append, clustered, rows_of
from operators.base.arrays import vectors_from_numpy
from operators.base.columns import DELETED_AT
from pipelines.table.table import Table

ROWS = 40
NUMBERS = [None if at == 7 else at % 3 if at < 30 else 5 for at in range(ROWS)]
COSINES = [None if at == 7 else 0.5 + at / 100 for at in range(ROWS)]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    name = str(tmp_path_factory.mktemp("groups") / "lake" / "t")
    rows = rows_of(vectors_from_numpy(clustered(ROWS, 8)), 0)
    rows = rows.append_column("cluster", pa.array(NUMBERS, pa.int32()))
    rows = rows.append_column("cluster_cosine", pa.array(COSINES, pa.float32()))
    gone = [0 if at == 39 else None for at in range(ROWS)]
    append(name, rows.append_column(DELETED_AT, pa.array(gone, DELETED_AT.type)), fragments=3)
    return Table.of(name)


def write_groups(table: Table, members: list[tuple[int, str, bool]]) -> None:
    columns: dict[str, Any] = {
        "group": pa.array([group for group, _, _ in members], pa.int64()),
        "id": [name for _, name, _ in members],
        "kept": [kept for _, _, kept in members],
        "match": [None if kept else "near" for _, _, kept in members],
        "cosine": pa.array([None if kept else 0.97 for _, _, kept in members], pa.float32()),
    }
    lance.write_dataset(pa.table(columns), table.names.duplicates, mode="overwrite")


def test_each_cluster_has_its_size_and_the_images_nearest_its_centre(table: Table) -> None:
    found = served_clusters(table.latest())
    assert (found.column, found.of, found.unassigned) == ("cluster", 4, 1)
    assert {each.number: each.rows for each in found.clusters} == {0: 10, 1: 9, 2: 10, 5: 9}
    by_number = {each.number: each for each in found.clusters}
    assert [row.values["id"] for row in by_number[5].examples] == [f"i{at}" for at in range(38, 32, -1)]
    assert by_number[0].cosine == pytest.approx(np.mean([COSINES[at] for at in range(0, 30, 3)]), abs=1e-6)


def test_groups_of_vectors_that_are_gone_are_not_current(table: Table) -> None:
    write_groups(table, [(0, "i0", True), (0, "i1", False)])
    assert alike_groups(table.latest(), duplicates_of(table), -1, 1).current
    of_before = duplicates_of(table).to_table().append_column("space_digest", pa.array(["of the model before"] * 2))
    lance.write_dataset(of_before, table.names.duplicates, mode="overwrite")
    assert not alike_groups(table.latest(), duplicates_of(table), -1, 1).current


def test_groups_come_in_pages_with_the_one_that_is_kept_first(table: Table) -> None:
    assert duplicates_of(Table.of(f"{table}-other")) is None
    write_groups(table, [(0, "i1", True), (0, "i2", False), (3, "i5", True), (3, "gone", False), (3, "i39", False)])
    duplicates = duplicates_of(table)
    found = alike_groups(table.latest(), duplicates, -1, 1)
    assert ([each.group for each in found.groups], found.of, found.more) == ([0], 5, True)
    first, second = found.groups[0].images
    assert (first.row.values["id"], first.kept, first.match) == ("i1", True, None)
    assert (second.row.values["id"], second.match, second.cosine) == ("i2", "near", pytest.approx(0.97))
    assert "vector" not in first.row.values
    rest = alike_groups(table.latest(), duplicates, 0, 1)
    # What has left the table, or is marked as deleted, is not shown.
    assert [[image.row.values["id"] for image in each.images] for each in rest.groups] == [["i5"]]
    assert not rest.more


def test_an_image_knows_what_is_nearly_the_same(table: Table) -> None:
    write_groups(table, [(0, "i1", True), (0, "i2", False)])
    group = alike_of(table.latest(), duplicates_of(table), "i2")
    assert group is not None
    assert [image.row.values["id"] for image in group.images] == ["i1", "i2"]
    assert alike_of(table.latest(), duplicates_of(table), "i' OR true OR id = '") is None


def test_a_table_of_that_name_that_is_no_table_of_groups_is_left_alone(table: Table, tmp_path: Path) -> None:
    lance.write_dataset(pa.table({"x": [1]}), table.names.duplicates, mode="overwrite")
    assert duplicates_of(table) is None
