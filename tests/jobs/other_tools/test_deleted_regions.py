"""Regions that another tool deleted of images whose other regions are there still, in layout `rows`."""

from collections import Counter
from pathlib import Path

import lance
import pytest

from jobs.describe import DescribeConfig
from jobs.describe import run as describe
from jobs.search import SearchConfig
from jobs.search import run as search
from made.photos import Photos

GRID = "regions={kind: grid, rows: 1, columns: 2, whole: true}"


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    return Photos(tmp_path)


def regions(photos: Photos) -> Counter[str]:
    return Counter(row["region_id"] for row in lance.dataset(f"{photos.table}.lance").to_table().to_pylist())


def counts(report):
    return report.status, report.vectors, report.failures, report.deleted, report.embedded_now


def test_they_are_named_and_come_back_with_restore_and_none_stands_twice(photos):
    manifest = photos.manifest(range(6))
    photos.embed(manifest, GRID)
    whole = regions(photos)
    photos.plain.delete("(`row` < 2 AND region.index = 0) OR (`row` = 2 AND region.index = 1)")
    photos.plain.delete("`row` = 5")
    left = regions(photos)
    report = photos.embed(manifest, GRID)
    assert counts(report) == ("complete", 5, 0, 1, 0)
    assert regions(photos) == left
    said = "3 images lack some of their regions: (shard, row) (0, 0), (0, 1), (0, 2). Another tool"
    assert any(said in notice and "--deleted restore" in notice for notice in report.notices)
    found = search(SearchConfig(table=photos.table, id="i0", k=1))
    assert found.results[0]["id"] == "i0", "by a region that is left"
    described = describe(DescribeConfig(table=photos.table))
    assert (described.images, described.manifests[0].missing) == (5, 1)
    assert any(said in notice for notice in described.notices)

    report = photos.embed(manifest, GRID, deleted="restore")
    assert counts(report) == ("complete", 6, 0, 0, 4)
    assert (regions(photos), report.notices) == (whole, [])
    assert photos.embed(manifest, GRID, deleted="restore").nothing_to_do


def test_an_image_that_cannot_be_read_again_keeps_what_is_left_of_it(photos):
    manifest = photos.manifest(range(3))
    photos.embed(manifest, GRID)
    photos.plain.delete("`row` < 2 AND region.index = 0")
    left = regions(photos)
    (photos.folder / "1.png").unlink()
    report = photos.embed(manifest, GRID, deleted="restore")
    assert counts(report)[:4] == ("complete", 3, 0, 0)
    assert any("1 image lacks some of their regions: (shard, row) (0, 1)." in each for each in report.notices)
    assert regions(photos) == left + Counter(["i0#0"])


def test_ids_of_which_the_first_region_is_gone_are_there_for_skip_existing(photos):
    photos.embed(photos.manifest(range(4)), GRID)
    photos.plain.delete("region.index = 0")
    report = photos.embed(photos.manifest(range(6), name="more.parquet"), GRID, skip_existing=True)
    assert (report.embedded_now, report.skipped) == (2, 4)
