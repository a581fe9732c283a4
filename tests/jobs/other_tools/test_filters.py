"""Whatever plain lancedb does to an indexed table, every command gives what a scan gives.

The truth is the table read whole and filtered in Python: no filter of Lance has a part in it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lancedb
import pyarrow.parquet as pq
import pytest

from jobs.describe import DescribeConfig
from jobs.describe import run as describe
from jobs.export import ExportConfig
from jobs.export import run as export
from jobs.index import IndexConfig, IndexResult
from jobs.index import run as index
from jobs.search import SearchConfig
from jobs.search import run as search
from made.other_tools import ACTIONS, FAILED, FIRST, ROWS, Touched, made_tables, write_manifest
from operators.base.errors import UserError
from pipelines.filter_index.trust import doubts

__all__ = ["made_tables"]

KINDS = {
    "id": "BTREE",
    "uri": "BTREE",
    "number": "BTREE",
    "even": "BITMAP",
    "tags": "LABEL_LIST",
    "grade": "ZONEMAP",
    "code": "BLOOMFILTER",
    "name": "NGRAM",
}
FILTERS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "`number` < 12": lambda row: row["number"] < 12,
    "NOT (`number` < 1000)": lambda row: not row["number"] < 1000,
    "`even` = false": lambda row: not row["even"],
    "`grade` >= 2.5": lambda row: row["grade"] is not None and row["grade"] >= 2.5,
    "`grade` IS NULL": lambda row: row["grade"] is None,
    "array_has(`tags`, 't3')": lambda row: "t3" in row["tags"],
    "`code` = 'c4'": lambda row: row["code"] == "c4",
    "`code` = 'c77'": lambda row: row["code"] == "c77",
    "contains(`name`, 'name1')": lambda row: "name1" in row["name"],
    "`id` = 'i20' OR `uri` = '/photos/i3.jpg'": lambda row: row["id"] == "i20" or row["uri"] == "/photos/i3.jpg",
}


def bring_up(touched: Touched, **options: Any) -> IndexResult:
    scalar = tuple(f"{column}={kind}" for column, kind in KINDS.items())
    given = options or {"scalar": scalar}
    return index(IndexConfig(table=touched.table, cluster={"executor": "local"}, **given))


@pytest.fixture(scope="module")
def indexed(made_tables: dict[bool, Touched], tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Touched]:
    """Both tables with an index of each kind."""
    copies = {stable: made.copy_to(tmp_path_factory.mktemp("indexed")) for stable, made in made_tables.items()}
    for copied in copies.values():
        assert bring_up(copied).scalar == KINDS
        assert doubts(copied.dataset) == {}
    return copies


def check_readers(touched: Touched, folder: Path) -> None:
    rows = touched.rows()
    there = {row["id"] for row in rows}
    for name in ("i0", "i3", "i20", "i21", "i30", "i50", "renamed"):
        if name in there:
            assert search(SearchConfig(table=touched.table, id=name, k=1)).results[0]["id"] == name
        else:
            with pytest.raises(UserError, match="no row has the id"):
                search(SearchConfig(table=touched.table, id=name, k=1))
    for where, holds in FILTERS.items():
        right = sorted(row["id"] for row in rows if holds(row))
        found = search(SearchConfig(table=touched.table, id="i30", where=where, k=100))
        assert sorted(row["id"] for row in found.results) == right, where
    where, holds = "`number` >= 1000 OR `code` = 'c4'", lambda row: row["number"] >= 1000 or row["code"] == "c4"
    export(ExportConfig(table=touched.table, out=str(folder), where=where))
    assert sorted(pq.read_table(folder)["id"].to_pylist()) == sorted(row["id"] for row in rows if holds(row))
    described = describe(DescribeConfig(table=touched.table))
    assert (described.vectors, described.failures) == (len(rows), len(touched.failed()))


def check_others(touched: Touched) -> None:
    """What plain lancedb finds, by the indexes that are there."""
    rows, plain = touched.rows(), lancedb.connect(str(Path(touched.table).parent)).open_table("photos")
    for where, holds in FILTERS.items():
        found = plain.search().where(where).limit(1000).to_list()
        assert sorted(row["id"] for row in found) == sorted(row["id"] for row in rows if holds(row)), where


@pytest.mark.parametrize("stable", [False, True], ids=["", "stable row ids"])
@pytest.mark.parametrize("action", list(ACTIONS))
def test_everything_is_found_and_done_once(
    indexed: dict[bool, Touched], action: str, stable: bool, tmp_path: Path
) -> None:
    touched = indexed[stable].copy_to(tmp_path)
    ACTIONS[action](touched)
    check_readers(touched, tmp_path / "hurt")
    gone = {row["row"] for row in indexed[stable].rows()} - {row["row"] for row in touched.rows()}
    others = write_manifest(tmp_path / "others", [8, 9, 30, ROWS, ROWS + 1])
    ids = {row["id"] for row in touched.rows()}
    touched.embed(others, skip_existing=True)
    new = {"i8", "i9", "i30", f"i{ROWS}", f"i{ROWS + 1}"} - ids
    assert {row["id"] for row in touched.rows()} == ids | new
    report = touched.embed()
    assert report.status == "complete"
    own = [row for row in touched.rows() if row["shard"] == 0]
    assert {row["row"] for row in own} == set(range(ROWS)) - set(FAILED) - gone, "what was deleted stays out"
    assert len({row["row"] for row in own}) == len(own), "no row is there twice"
    touched.embed(retry_failed="all")
    assert sorted(row["row"] for row in touched.failed()) == list(FAILED)
    bring_up(touched, update=True)
    assert doubts(touched.dataset) == {}
    check_readers(touched, tmp_path / "mended")
    check_others(touched)


def test_the_half_that_was_embedded_is_all_there_is(made_tables: dict[bool, Touched]) -> None:
    assert {row["row"] for row in made_tables[False].rows()} == set(range(FIRST)) - set(FAILED)
