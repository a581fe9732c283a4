"""`restore` of LanceDB on either table or both, and metadata replaced: no row is lost, and none counted twice."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import lance
import pyarrow as pa
import pytest

from jobs import describe, embed
from made.ready_vectors import Lake, write_source
from pipelines.commits.committer import Committer
from pipelines.ledger.entries import read_entries
from pipelines.table.errors import CorruptTableError, RefusedError

ROWS = {"a": 8, "b": 12, "c": 12}
"""Of each source; every fourth is a failure."""
VECTORS, FAILURES = "photos", "photos__failures"
ONE_OR_BOTH = pytest.mark.parametrize("tables", [[VECTORS], [FAILURES], [VECTORS, FAILURES]], ids=["v", "f", "both"])


@pytest.fixture
def lakes(tmp_path: Path) -> dict[str, Lake]:
    """One table, three sources."""
    sources = {name: write_source(tmp_path / name, [rows], bad=4) for name, rows in ROWS.items()}
    return {name: Lake(tmp_path, source) for name, source in sources.items()}


def versions(lake: Lake) -> dict[str, int]:
    return {name: lake.plain(name).version for name in (VECTORS, FAILURES)}


def take_back(lake: Lake, to: dict[str, int], tables: Sequence[str]) -> None:
    for name in tables:
        table = lake.plain(name)
        table.checkout(to[name])
        table.restore()


def replace_metadata(lake: Lake, tables: Sequence[str]) -> None:
    for name in tables:
        lance.dataset(f"{lake.folder}/lake/{name}.lance").update_metadata({"owner": "somebody"}, replace=True)


def check_that_runs_bring_every_row(lakes: dict[str, Lake]) -> None:
    """A new source first, then the others again."""
    for name in ("c", "a", "b"):
        report = lakes[name].embed()
        assert report.status == "complete", report
        assert (report.vectors, report.failures) == (ROWS[name] * 3 // 4, ROWS[name] // 4)
    lake = lakes["a"]
    entries = read_entries(*(lance.dataset(uri).metadata for uri in (lake.names.vectors, lake.names.failures)))
    assert [entry.status for entry in entries] == ["complete"] * 3
    assert lake.positions() == Counter((e.first_shard, row) for e in entries for row in range(e.rows))
    again = [each.embed() for each in lakes.values()]
    assert all(report.nothing_to_do and not report.notices for report in again)


@ONE_OR_BOTH
@pytest.mark.parametrize("back_to", ["nothing", "a", "within_b"])
def test_after_a_restore_the_next_runs_bring_every_row(lakes: dict[str, Lake], tables: list[str], back_to: str) -> None:
    prepared = embed.plan(lakes["a"].config()).prepared
    Committer.open(lakes["a"].names, prepared.pipeline.sink.vectors_schema, run_id="makes-the-tables")
    at = {"nothing": versions(lakes["a"])}
    lakes["a"].embed()
    at["a"] = versions(lakes["a"])
    lakes["b"].embed(limit=5)
    at["within_b"] = versions(lakes["a"])
    lakes["b"].embed()
    take_back(lakes["a"], at[back_to], tables)
    check_that_runs_bring_every_row(lakes)


@pytest.mark.parametrize("tables", [[VECTORS], [FAILURES]], ids=["v", "f"])
def test_with_the_metadata_of_one_table_replaced_the_next_runs_bring_every_row(
    lakes: dict[str, Lake], tables: list[str]
) -> None:
    lakes["a"].embed()
    lakes["b"].embed()
    replace_metadata(lakes["a"], tables)
    assert {m.status for m in describe.run(describe.DescribeConfig(table=lakes["a"].table)).manifests} == {"undone"}
    check_that_runs_bring_every_row(lakes)


def test_a_table_whose_record_is_gone_is_refused_with_the_cure(lakes: dict[str, Lake]) -> None:
    lakes["a"].embed()
    before = versions(lakes["a"])
    replace_metadata(lakes["a"], [VECTORS, FAILURES])
    for lake in lakes.values():
        with pytest.raises(RefusedError, match=r"6 vectors and 2 failures, and the record .* is gone.*restore\(\)"):
            lake.embed()
    take_back(lakes["a"], before, [VECTORS])
    lakes["b"].embed()
    check_that_runs_bring_every_row(lakes)


def test_a_restore_is_told_to_who_embeds_another_manifest_and_described(lakes: dict[str, Lake]) -> None:
    lakes["a"].embed()
    before = versions(lakes["a"])
    lakes["b"].embed()
    take_back(lakes["a"], before, [VECTORS])
    described = describe.run(describe.DescribeConfig(table=lakes["a"].table))
    assert [(m.status, m.vectors, m.failures, m.missing) for m in described.manifests] == [
        ("complete", 6, 2, 0),
        ("undone", 0, 3, 9),
    ]
    report = lakes["c"].embed()
    assert report.status == "complete"
    [notice] = report.notices
    assert f"{lakes['b'].source}: was complete, and 9 of its 12 rows are in neither table" in notice
    assert notice in embed.summary(report)
    assert f"{lakes['b'].source}: 12 rows, undone" in describe.as_text(described)
    assert ", 9 rows in neither table" in describe.as_text(described)


@pytest.mark.parametrize("shard", [1, 77, -1])
def test_a_row_that_another_tool_added_takes_no_place_of_a_manifest_and_is_named(
    lakes: dict[str, Lake], shard: int
) -> None:
    """At the first position that the next manifest would have had, far beyond, and before."""
    lakes["a"].embed()
    add_a_row(lakes["a"], shard, 0)
    report = lakes["b"].embed()
    assert (report.status, report.vectors, report.failures) == ("complete", 9, 3)
    [notice] = report.notices
    assert f"1 rows stand at positions of no registered manifest: (shard, row) ({shard}, 0)." in notice
    assert report.notices == lakes["b"].embed().notices
    lakes["a"].plain().delete(f"`shard` IN ({shard})")
    assert lakes["b"].embed().notices == []


def test_rows_beyond_a_manifest_are_named_and_counted_for_nothing(lakes: dict[str, Lake]) -> None:
    lakes["a"].embed(limit=4)
    for row in (8, 9):
        add_a_row(lakes["a"], 0, row)
    for _ in range(2):
        report = lakes["a"].embed()
        assert (report.status, report.vectors, report.failures) == ("complete", 6, 2)
        [notice] = report.notices
        assert "2 rows stand at positions beyond the manifest's last row: (shard, row) (0, 8), (0, 9)." in notice


def test_shard_numbers_that_are_used_up_are_said(lakes: dict[str, Lake]) -> None:
    lakes["a"].embed()
    add_a_row(lakes["a"], (1 << 31) - 1, 0)
    with pytest.raises(RefusedError, match=r"no shard numbers are left: .* a row with shard 2,147,483,647"):
        lakes["b"].embed()


@pytest.mark.parametrize("table", [VECTORS, FAILURES])
@pytest.mark.parametrize("settings", [{}, {"limit": 6}, {"retry_failed": "all"}, {"skip_existing": True}], ids=str)
def test_a_position_that_stands_twice_is_named_and_no_run_says_complete(
    lakes: dict[str, Lake], table: str, settings: dict[str, object]
) -> None:
    """The manifest is finished: with nothing left to do, too, its rows are read."""
    lakes["a"].embed()
    uri = f"{lakes['a'].folder}/lake/{table}.lance"
    lance.write_dataset(lance.dataset(uri).to_table(limit=1), uri, mode="append")
    said = rf"{table}\.lance: positions stand there more than once: \(shard, row\) \(0, [01]\)\."
    if "retry_failed" in settings:
        report = lakes["a"].embed(**settings)
        assert report.status == "failed"
        assert re.search(said, report.message)
        assert "run the same command again" not in report.message, "that would end as this one did"
        return
    with pytest.raises(CorruptTableError, match=said):
        lakes["a"].embed(**settings)


def add_a_row(lake: Lake, shard: int, row: int) -> None:
    """As another tool might: a copy of a row, with a position that it makes up."""
    added = lake.plain().to_lance().to_table(limit=1)
    for name, value in (("shard", shard), ("row", row)):
        at = added.schema.get_field_index(name)
        added = added.set_column(at, added.schema.field(name), pa.array([value], pa.int32()))
    lake.plain().add(added)
