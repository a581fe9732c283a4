"""`pixlake drift` on tables with regions, as rows and as lists, and on derived columns: each image counts once."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs import reduce
from jobs.config.load import load_config
from jobs.drift import DriftConfig, run
from jobs.reports.drift import DriftReport
from made.photos import Photos
from made.regions import region_batch, region_committer, region_sink
from operators.base.columns import SHA256
from pipelines.table.names import TableNames
from pipelines.table.table import Table
from pipelines.versions.tags import tag_state

LOCAL = {"executor": "local"}


def drift(table: str, **given: Any) -> DriftReport:
    return run(load_config(DriftConfig, base={"table": table, **given}))


def add_images(table: str, layout: str, shard: int, count: int) -> None:
    """Images with 1 to 4 regions, of different bytes."""
    names = TableNames.from_table(table)
    batch = region_batch(shard, range(count))
    sha256 = pa.array([f"sha of {shard} {row}" for row in range(count)])
    batch = batch.set_column(batch.schema.get_field_index(SHA256.name), SHA256, sha256)
    region_committer(names, layout).commit([region_sink(names, layout).write(batch)])


@pytest.mark.parametrize(("layout", "rows"), [("rows", (150, 100)), ("multivector", (60, 40))])
def test_an_image_counts_once_whatever_regions_it_has(tmp_path: Path, layout: str, rows: tuple[int, int]) -> None:
    table = str(tmp_path / "lake" / "photos")
    add_images(table, layout, 0, 60)
    tag_state(Table.of(table), "before")
    add_images(table, layout, 1, 40)
    report = drift(table, from_state="before")
    assert (report.before.rows, report.came) == rows
    # A third of the images makes the clusters.
    assert report.comparisons[0].images == (40, 40)
    assert report.exceeded == []
    # All vectors are summed, also those of one row.
    assert report.figures[0].vectors == (150, 100)
    assert report.failures is not None
    assert report.failures.images == (60, 100, 40)
    assert report.agreement is not None
    assert report.agreement.overlap == 1
    assert len({each.id for each in report.farthest}) >= 5


def test_a_field_of_a_struct_groups(tmp_path: Path) -> None:
    table = str(tmp_path / "lake" / "photos")
    add_images(table, "rows", 0, 200)
    tag_state(Table.of(table), "before")
    add_images(table, "rows", 1, 200)
    report = drift(table, from_state="before", group="region.label")
    assert {each.value for each in report.groups} == {"l0", "l1", "l2", "l3"}
    assert sum(each.shares[1] for each in report.groups) == pytest.approx(1)
    assert report.exceeded == []


@pytest.fixture(scope="module")
def derived(tmp_path_factory: pytest.TempPathFactory) -> str:
    """80 photographs of one colour each under the tag `before`, and 50 more from among them."""
    photos = Photos(tmp_path_factory.mktemp("derived"))
    table, early = photos.table, [number for number in range(130) if number % 13 < 8]
    photos.embed(photos.manifest(early))
    for name, options in {"int8": {"quantize": "int8"}, "binary": {"quantize": "binary"}}.items():
        base = {"table": table, "column": f"vector_{name}", "cluster": LOCAL, **options}
        reduce.run(load_config(reduce.ReduceConfig, base=base))
    tag_state(Table.of(table), "before")
    photos.embed(photos.manifest(sorted({*range(130)} - {*early}), "more.parquet"))
    return table


@pytest.mark.parametrize("column", ["vector_int8", "vector_binary"])
def test_codes_are_compared_by_what_they_stand_for(derived: str, column: str) -> None:
    report = drift(derived, from_state="before", columns=[column])
    assert report.came == 50
    assert report.exceeded == []
    exact = drift(derived, from_state="before")
    if column == "vector_int8":
        assert report.figures[0].frechet == pytest.approx(exact.figures[0].frechet, rel=0.02)
        assert report.figures[0].effective_dims == pytest.approx(exact.figures[0].effective_dims, rel=0.02)


def test_a_column_and_its_codes_are_two_spaces_with_the_same_neighbours(derived: str) -> None:
    report = drift(derived, columns=["vector", "vector_int8"])
    assert not report.same_space
    assert report.figures == []
    assert report.exceeded == []
    assert report.agreement is not None
    assert report.agreement.images == 130
    assert report.agreement.overlap > 0.9
    assert report.agreement.cka > 0.99
    across = drift(derived, columns=["vector", "vector_int8"], across_spaces=True)
    assert [each.of for each in across.figures] == ["all"]
    assert across.figures[0].standard_errors is None
    least = drift(derived, columns=["vector", "vector_binary"], thresholds={"overlap": 0.99})
    assert [line.partition(":")[0] for line in least.exceeded] == ["neighbour overlap"]


def test_a_column_that_was_not_there_is_named(derived: str) -> None:
    """A state before any was derived."""
    with pytest.raises(Exception, match="no vector column 'vector_int8'; there: vector"):
        drift(derived, from_state="5", columns=["vector_int8"])
