"""Tags on both tables of a pair: made, kept where they are, completed after a kill, and not confused by other tools."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import lance
import lancedb
import pytest

from made.tables import batch, names_in, open_committer, sink_of
from pipelines.table.table import Table
from pipelines.versions import tags as module
from pipelines.versions.open import failures_at, vectors_at
from pipelines.versions.tags import TagError, delete_tag, list_tags, tag_state, versions_now

NAMES = ("2026-11-28", "2026-11-28.2", "2026-11-28.3")


class _Noon(datetime):
    @classmethod
    def now(cls, tz: object = None) -> "datetime":
        return datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "datetime", _Noon)


def grow(table: Table, shard: int) -> None:
    """One more state: rows of a shard, of which row 1 failed."""
    committer = open_committer(table.names)
    committer.commit([sink_of(table.names).write(batch(shard, range(3), failed=[1]))])


@pytest.fixture
def table(tmp_path: Path) -> Table:
    table = Table(names=names_in(tmp_path))
    grow(table, 0)
    return table


def lance_of(table: Table) -> "tuple[lance.LanceDataset, lance.LanceDataset]":
    return lance.dataset(table.uri), lance.dataset(table.names.failures)


def test_each_state_of_a_day_has_a_name_of_its_own(table: Table) -> None:
    assert tag_state(table).name == NAMES[0]
    assert tag_state(table).name == NAMES[0], "the same state again"
    for shard, name in enumerate(NAMES[1:], 1):
        grow(table, shard)
        assert tag_state(table).name == name
    assert [tag.name for tag in list_tags(table)] == list(NAMES)
    assert [vectors_at(table, name).count_rows() for name in NAMES] == [2, 4, 6]
    assert [failures_at(table, name).count_rows() for name in NAMES] == [1, 2, 3]


def test_making_a_tag_is_no_commit(table: Table) -> None:
    before = versions_now(table)
    tag_state(table)
    assert versions_now(table) == before


def test_a_plain_reader_at_the_tag_sees_the_same_rows(table: Table) -> None:
    tag_state(table, "first")
    grow(table, 1)
    opened = lancedb.connect(table.names.database).open_table("photos")
    opened.checkout("first")
    assert opened.count_rows() == vectors_at(table, "first").count_rows() == 2
    assert opened.to_arrow().sort_by("id") == vectors_at(table, "first").to_table().sort_by("id")


def test_a_name_is_moved_only_when_that_is_asked_for(table: Table) -> None:
    first = tag_state(table, "live")
    grow(table, 1)
    with pytest.raises(TagError, match=rf"version {first.vectors}, and .*`pixlake tag \S+ live --move`"):
        tag_state(table, "live")
    assert vectors_at(table, "live").count_rows() == 2
    moved = tag_state(table, "live", move=True)
    assert (moved.vectors, moved.failures) == tuple(dataset.version for dataset in lance_of(table))
    assert tag_state(table, "live", move=True) == moved


def test_half_a_pair_that_a_kill_has_left_is_completed(table: Table) -> None:
    _, failures = lance_of(table)
    failures.tags.create(NAMES[0], failures.version)
    assert tag_state(table).name == NAMES[0]
    assert vectors_at(table, NAMES[0]).count_rows() == 2


def test_a_tag_of_another_tool_is_left_as_it_is(table: Table) -> None:
    vectors, failures = lance_of(table)
    vectors.tags.create(NAMES[0], 1)
    assert tag_state(table).name == NAMES[1]
    assert lance_of(table)[0].tags.get_version(NAMES[0]) == 1
    failures.tags.create("half", 1)
    with pytest.raises(TagError, match="no version but 1 of the failures"):
        tag_state(table, "half")
    with pytest.raises(TagError, match="no tag 'half'"):
        vectors_at(table, "half")
    tag_state(table, "half", move=True)
    assert vectors_at(table, "half").count_rows() == 2


def test_the_failures_of_a_tag_that_only_the_vector_table_has_are_those_of_its_time(table: Table) -> None:
    first = lance_of(table)[0].version
    grow(table, 1)
    second = lance_of(table)[0].version
    lance_of(table)[0].tags.create("theirs", first)
    assert failures_at(table, "theirs").count_rows() == 1
    assert failures_at(table, str(first)).count_rows() == 1
    assert failures_at(table, str(second)).count_rows() == 2
    _, failures = lance_of(table)
    failures.cleanup_old_versions(timedelta(0))
    with pytest.raises(TagError, match="has been pruned"):
        failures_at(table, "theirs")


def test_a_name_that_is_taken_away_is_gone_from_both(table: Table) -> None:
    tag_state(table, "first")
    assert delete_tag(table, "first").name == "first"
    assert list_tags(table) == []
    with pytest.raises(TagError, match="no tag 'first'; there is none"):
        delete_tag(table, "first")


@pytest.mark.parametrize("name", ["", "7", "a b", "a/b", ".a", "a.", "a..b", "x.lock", "é", "a\n"])
def test_names_that_cannot_be_are_refused(table: Table, name: str) -> None:
    with pytest.raises(TagError, match="a tag's name is of letters"):
        tag_state(table, name)
    assert list_tags(table) == []


@pytest.mark.parametrize("name", ["a", "v1.2", "-x", "2026-11-28T12_00", "7a", "latest"])
def test_names_that_lance_takes_are_taken(table: Table, name: str) -> None:
    assert tag_state(table, name).name == name
    assert vectors_at(table, name).count_rows() == 2


def test_a_name_outside_ascii_that_another_tool_gave_is_said(table: Table) -> None:
    """Lance 13 then lists no tags at all."""
    lance_of(table)[0].tags.create("é", 1)
    with pytest.raises(TagError, match="outside ASCII"):
        tag_state(table)


def test_a_commit_while_the_versions_are_read_is_seen(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the first look at the failures and the look at the vectors a run commits to both."""
    latest, calls = Table.latest, []

    def latest_after_a_commit(self: Table) -> "lance.LanceDataset":
        if not calls:
            calls.append(1)
            grow(table, 1)
        return latest(self)

    monkeypatch.setattr(Table, "latest", latest_after_a_commit)
    state = versions_now(table)
    monkeypatch.undo()
    assert (state.vectors, state.failures) == tuple(dataset.version for dataset in lance_of(table))
