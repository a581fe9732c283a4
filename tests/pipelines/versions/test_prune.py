"""Old versions are removed, and nothing that is tagged, young, or staged by a run that is on."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import lance
import pytest
from lance.dataset import Transaction
from lance.fragment import FragmentMetadata

from made.tables import batch, names_in, open_committer, positions, read, sink_of
from operators.base.errors import UserError
from pipelines.table.fenced_operations import fenced_update, metadata_update
from pipelines.table.table import Table
from pipelines.versions import prune as module
from pipelines.versions.prune import SAFE_AGE, Keep, Version, old_versions, prune
from pipelines.versions.tags import list_tags, tag_state

NOW = datetime(2026, 11, 28, 12)
DAY = timedelta(days=1)


def of_ages(*days: float) -> list[Version]:
    return [Version(number=number, made_at=NOW - each * DAY) for number, each in enumerate(days, 1)]


@pytest.mark.parametrize(
    ("text", "keep"),
    [("10", Keep(number=10)), (1, Keep(number=1)), ("14d", Keep(age=14 * DAY)), ("2w", Keep(age=14 * DAY))],
)
def test_what_stays_is_a_number_or_an_age(text: str | int, keep: Keep) -> None:
    assert Keep.parse(text) == keep


@pytest.mark.parametrize("text", ["0", "-1", "0d", "5h", "x", "", "1.5d", "d"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="a number of versions, 1 or more, or an age"):
        Keep.parse(text)


def test_an_age_counts_from_when_a_version_was_the_latest_no_more() -> None:
    """Version 2 was made 30 days ago, and was what a reader saw until 3 days ago."""
    assert old_versions(of_ages(40, 30, 3, 2), (), Keep(age=7 * DAY), NOW) == [1]
    assert old_versions(of_ages(40, 30, 3, 2), (), Keep(age=DAY), NOW) == [1, 2, 3]


def test_a_number_counts_the_latest() -> None:
    assert old_versions(of_ages(9, 8, 7, 6, 5), (), Keep(number=2), NOW) == [1, 2, 3]
    assert old_versions(of_ages(9, 8), (), Keep(number=5), NOW) == []


def test_what_was_the_latest_within_a_day_stays_whatever_is_asked_for() -> None:
    assert old_versions(of_ages(9, 0.9, 0.5, 0.1), (), Keep(number=1), NOW) == []
    assert old_versions(of_ages(9, 1.1, 0.5, 0.1), (), Keep(number=1), NOW) == [1]


def test_tagged_versions_and_the_latest_stay() -> None:
    assert old_versions(of_ages(40, 30, 20, 10), (2,), Keep(number=1), NOW) == [1, 3]
    assert old_versions(of_ages(40), (), Keep(number=1), NOW) == []
    assert old_versions([], (), Keep(number=1), NOW) == []


class _Later(datetime):
    @classmethod
    def now(cls, tz: object = None) -> "datetime":
        return datetime.now() + 3 * SAFE_AGE


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Five shards in five commits."""
    table = Table(names=names_in(tmp_path))
    committer = open_committer(table.names)
    for shard in range(5):
        committer.commit([sink_of(table.names).write(batch(shard, range(3), failed=[1]))])
    return table


def versions_of(uri: str) -> list[int]:
    return [each["version"] for each in lance.dataset(uri).versions()]


def test_nothing_young_is_touched(table: Table) -> None:
    before = versions_of(table.uri)
    assert [each.versions for each in prune(table, Keep(number=1))] == [0, 0]
    assert versions_of(table.uri) == before


def test_both_tables_are_pruned_and_their_tags_stay(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    tag = tag_state(table, "five")
    committer = open_committer(table.names)
    committer.commit([sink_of(table.names).write(batch(9, range(3), failed=[1]))])
    monkeypatch.setattr(module, "datetime", _Later)
    removed = prune(table, Keep(number=2))
    assert all(each.versions and each.bytes for each in removed)
    for uri, tagged in ((table.uri, tag.vectors), (table.names.failures, tag.failures)):
        assert versions_of(uri) == sorted({tagged, *versions_of(uri)[-2:]})
    assert lance.dataset(table.uri, version="five").count_rows() == 10
    assert read(table.uri) == positions(9, [0, 2]) + sum((positions(s, [0, 2]) for s in range(5)), positions(0, []))
    assert [each.versions for each in prune(table, Keep(number=2))] == [0, 0]


def test_names_of_days_go_only_where_that_is_asked_for(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.versions.tags.datetime", SimpleNamespace(now=lambda zone: NOW, fromtimestamp=None))
    tag_state(table)
    tag_state(table, "release")
    open_committer(table.names)
    monkeypatch.setattr(module, "datetime", _Later)
    prune(table, Keep(number=1))
    assert [tag.name for tag in list_tags(table)] == ["2026-11-28", "release"]
    assert len(versions_of(table.uri)) == 2
    prune(table, Keep(number=1), drop_tags=True)
    assert [tag.name for tag in list_tags(table)] == ["release"]
    assert len(versions_of(table.uri)) == 2, "the other name holds it"


def test_what_a_run_has_staged_can_be_committed_afterwards(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    committer = open_committer(table.names)
    receipt = sink_of(table.names).write(batch(7, range(3), failed=[1]))
    monkeypatch.setattr(module, "datetime", _Later)
    assert all(each.versions for each in prune(table, Keep(number=1)))
    committer.commit([receipt])
    assert read(table.uri)[(7, 0)] == 1
    assert lance.dataset(table.uri).to_table().num_rows == 12


def test_the_commit_of_a_stopped_run_does_not_land_after_a_prune(table: Table) -> None:
    """Its conflicts are with versions of the last day. Where another tool has removed those, Lance lets it pass."""
    stopped = open_committer(table.names).datasets[0]
    receipt = sink_of(table.names).write(batch(8, range(3)))
    written = [FragmentMetadata.from_json(json.dumps(each)) for each in json.loads(receipt.vector_fragments)]
    late = Transaction(stopped.version, fenced_update(stopped, written))
    open_committer(table.names, "second")
    lance.LanceDataset.commit(table.latest(), metadata_update({"a": "b"}), read_version=table.latest().version)
    prune(table, Keep(number=1))
    with pytest.raises(OSError, match="conflict"):
        lance.LanceDataset.commit(stopped, late)
    table.latest().cleanup_old_versions(timedelta(0))
    lance.LanceDataset.commit(stopped, late)
    assert read(table.uri)[(8, 0)] == 1, "what the rule is for: should Lance refuse it one day, the rule may go"
