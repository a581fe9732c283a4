"""`pixlake rewrite`: tables that have stable row ids, as earlier releases made them, copied whole and gone on with."""

import shutil
from pathlib import Path
from typing import Any

import lance
import pytest
from lancedb.index import BTree

from jobs import delete, describe, reduce, rewrite, search
from jobs.config.load import load_config
from made.other_tools import stable_row_ids
from made.ready_vectors import Lake, write_source
from pipelines.table.errors import RefusedError

ROWS, FIRST = 60, 40


class Copied(Lake):
    """The new table of a lake."""

    @property
    def table(self) -> str:
        return f"{self.folder}/lake/fresh"


@pytest.fixture
def old(tmp_path: Path) -> Lake:
    """40 rows of 60, 4 of them failures, codes, an index, an image taken down, and what another tool changed."""
    lake = Lake(folder=tmp_path, source=write_source(tmp_path / "ready", [ROWS], bad=10))
    with stable_row_ids():
        lake.embed(limit=FIRST)
    base = {"table": lake.table, "column": "codes", "cluster": {"executor": "local"}, "quantize": "int8"}
    reduce.run(load_config(reduce.ReduceConfig, base=base))
    lake.plain().create_index("uri", config=BTree())
    delete.run(delete.DeleteConfig(table=lake.table, where="`row` = 3"))
    lake.plain().update(where="`row` = 21", values={"uri": "/moved.jpg"})
    assert lance.dataset(lake.names.vectors).has_stable_row_ids
    return lake


def copy(lake: Lake) -> rewrite.RewriteReport:
    return rewrite.run(rewrite.RewriteConfig(table=lake.table, new_table=f"{lake.folder}/lake/fresh"))


def copied(lake: Lake) -> Copied:
    return Copied(folder=lake.folder, source=lake.source)


def content(lake: Lake) -> list[Any]:
    """Everything in both tables, in order, and what is said of their fields."""
    found = []
    for uri in (lake.names.vectors, lake.names.failures):
        dataset = lance.dataset(uri)
        found += [dataset.to_table().sort_by([("shard", "ascending"), ("row", "ascending")]).to_pylist()]
        found += [{f.name: (f.type, f.nullable, f.metadata) for f in dataset.schema}]
    return found


def test_a_copy_is_equal_to_the_table_and_has_no_stable_row_ids(old: Lake) -> None:
    before = content(old)
    report = copy(old)
    assert (report.vectors, report.failures, report.already) == (FIRST - 5, 4, False)
    assert report.indexes == ("uri_idx",)
    assert "pixlake index" in rewrite.as_text(report)
    fresh = copied(old)
    assert not lance.dataset(fresh.names.vectors).has_stable_row_ids
    assert content(fresh) == before == content(old)
    ours, theirs = (describe.run(describe.DescribeConfig(table=each.table)) for each in (fresh, old))
    assert (ours.manifests, ours.runs) == (theirs.manifests, theirs.runs)
    assert theirs.stable_row_ids
    assert f"`pixlake rewrite {old.table} NEW_TABLE`" in describe.as_text(theirs)
    assert not ours.stable_row_ids
    assert "pixlake rewrite" not in describe.as_text(ours)


def test_the_copy_goes_on_where_the_table_stood_and_needs_nothing_of_it(old: Lake) -> None:
    copy(old)
    fresh = copied(old)
    for gone in Path(f"{old.folder}/lake").glob("photos*"):
        shutil.rmtree(gone)
    report = fresh.embed()
    assert report.embedded_now == ROWS - FIRST - 2, "what was taken down stays out of the copy too"
    rows = lance.dataset(fresh.names.vectors).to_table(columns=["codes", "row"])
    assert not rows["codes"].null_count, "the quantizer lies beside the copy"
    assert set(fresh.positions().values()) == {1}
    first = lance.dataset(fresh.names.vectors).to_table(columns=["id"], limit=1)["id"][0].as_py()
    assert search.run(search.SearchConfig(table=fresh.table, id=first, k=1)).results[0]["id"] == first


def test_the_same_command_again_does_nothing_and_another_table_is_not_written_over(old: Lake) -> None:
    copy(old)
    fresh = copied(old)
    version = lance.dataset(fresh.names.vectors).version
    assert copy(old).already
    assert lance.dataset(fresh.names.vectors).version == version
    old.plain().delete("`row` = 4")
    with pytest.raises(RefusedError, match="is a copy of version"):
        copy(old)
    with pytest.raises(RefusedError, match="is there already, and is no copy of"):
        rewrite.run(rewrite.RewriteConfig(table=fresh.table, new_table=old.table))
    with pytest.raises(RefusedError, match="is the table itself"):
        rewrite.run(rewrite.RewriteConfig(table=old.table, new_table=old.table))
