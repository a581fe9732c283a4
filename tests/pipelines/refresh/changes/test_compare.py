"""The join itself: every row of every side is accounted for, and each image gets the state that it has."""

import tempfile
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made.diffs import KEPT, FailureRow, SourceRow, VectorRow, failure_table, source_table, vector_table
from pipelines.refresh.changes.changes import changes_schema
from pipelines.refresh.changes.compare import HowCompared, compare
from pipelines.refresh.changes.moved import Movers

HOW = HowCompared(kept=KEPT, compared=("label",), sized=True, tells_content=True, check_http=False)
Outcome = Counter[tuple[str, str | None, int | None, str | None, int | None]]
"""(state, id, position in the source, table, row there) of all rows that something is to be done about."""


def diff(
    source: Sequence[SourceRow],
    vectors: Sequence[VectorRow] = (),
    failures: Sequence[FailureRow] = (),
    taken_down: Sequence[str] = (),
    how: HowCompared = HOW,
) -> tuple[Outcome, Counter[str]]:
    """All rows of the outcome, and the counts of states without rows."""
    with tempfile.TemporaryDirectory() as folder:
        movers = Movers(folder, changes_schema(KEPT), 2)
        found = compare(
            source_table(source), vector_table(vectors), failure_table(failures), pa.array(taken_down, pa.string()), how
        )
        tables = [*found.rows, *movers.add(found.new, found.lost), *movers.settle()]
    rows = [row for table in tables for row in table.to_pylist()]
    names = ("change.state", "id", "change.position", "old.in", "old.row")
    idle = {state: count for state, count in found.counts.items() if state in ("unchanged", "failed", "taken_down")}
    return Counter(tuple(row[name] for name in names) for row in rows), Counter({k: v for k, v in idle.items() if v})


def states(outcome: Outcome) -> dict[str | None, str]:
    return {each[1]: each[0] for each in outcome}


def test_each_state_of_one_image() -> None:
    here, there = "s3://b/a", "s3://b/z"
    row = VectorRow("a", here, "v1")
    cases: dict[str, tuple[list[SourceRow], list[VectorRow], list[FailureRow]]] = {
        "new": ([SourceRow("a", here, "v1")], [], []),
        "changed": ([SourceRow("a", here, "v2")], [row], []),
        "moved": ([SourceRow("a", there, "v1")], [row], []),
        "touched": ([SourceRow("a", here, "v1", label="dog")], [row], []),
        "returned": ([SourceRow("a", here, "v1")], [VectorRow("a", here, "v1", marked=True)], []),
        "deleted": ([], [row], []),
        "gone": ([], [VectorRow("a", here, "v1", marked=True)], []),
        "retried": ([SourceRow("a", here, "v1")], [], [FailureRow("a", here, "timeout", "v1")]),
    }
    for state, case in cases.items():
        outcome, idle = diff(*case)
        assert [each[0] for each in outcome] == [state], state
        assert not idle
    assert diff([SourceRow("a", here, "v1")], [row]) == (Counter(), Counter(unchanged=1))


def test_what_carried_rows_say_is_what_the_source_says() -> None:
    found = compare(
        source_table([SourceRow("a", "s3://b/z", "v1", label="dog")]),
        vector_table([VectorRow("a", "s3://b/a", "v1")]),
        failure_table([]),
        pa.array([], pa.string()),
        HOW,
    )
    (row,) = found.rows[0].to_pylist()
    assert (row["uri"], row["label"], row["old.uri"], row["old.etag"]) == ("s3://b/z", "dog", "s3://b/a", '"v1"')
    assert row["old.sha256"] == "0" * 64
    assert row["old.size_bytes"] == 7


@pytest.mark.parametrize(
    ("failure", "state"),
    [
        (FailureRow("a", "s3://b/a", "corrupt", "v1"), "failed"),
        (FailureRow("a", "s3://b/a", "corrupt", "v0"), "retried"),
        (FailureRow("a", "s3://b/a", "corrupt", None), "retried"),
        (FailureRow("a", "s3://b/other", "corrupt", "v1"), "retried"),
        (FailureRow("a", "s3://b/a", "throttled", "v1"), "retried"),
        (FailureRow("a", "s3://b/a", "not_found", "v1"), "retried"),
        (FailureRow("a", "s3://b/a", "of a later release", "v1"), "retried"),
    ],
)
def test_a_failure_is_tried_again_by_its_class_and_by_its_version(failure: FailureRow, state: str) -> None:
    outcome, idle = diff([SourceRow("a", "s3://b/a", "v1")], [], [failure])
    assert [*(each[0] for each in outcome), *idle] == [state]


def test_a_manifest_row_that_is_none_stays_a_failure_while_it_is_wrong_in_the_same_way() -> None:
    bad = SourceRow("a", None, "", error="m.csv:3: URI is empty")
    same = FailureRow("a", None, "bad_uri", None, error="m.csv:3: URI is empty")
    assert diff([bad], [], [same]) == (Counter(), Counter(failed=1))
    other = FailureRow("a", None, "bad_uri", None, error="m.csv:3: URI is null")
    assert states(diff([bad], [], [other])[0]) == {"a": "retried"}
    assert states(diff([bad])[0]) == {"a": "new"}


def test_taken_down_images_are_not_new() -> None:
    source = [SourceRow("a", "s3://b/a", "v1"), SourceRow("b", "s3://b/b", "v1")]
    outcome, idle = diff(source, taken_down=["a", "c"])
    assert states(outcome) == {"b": "new"}
    assert idle == Counter(taken_down=1)


def test_a_failure_beside_a_vector_is_stale() -> None:
    row, failure = VectorRow("a", "s3://b/a", "v1"), FailureRow("a", "s3://b/a", "timeout", "v1")
    outcome, idle = diff([SourceRow("a", "s3://b/a", "v1")], [row], [failure])
    assert outcome == Counter({("stale", None, None, "failures", 0): 1})
    assert idle == Counter(unchanged=1)
    outcome, _ = diff([], [row], [failure])
    assert Counter(each[0] for each in outcome) == Counter(deleted=2)


def test_an_object_under_another_key_has_moved_where_nothing_else_could_have() -> None:
    lost, new = VectorRow("a", "s3://b/a", "v1"), SourceRow("b", "s3://b/b", "v1")
    assert diff([new], [lost])[0] == Counter({("moved", "b", 0, "vectors", 0): 1})
    # Not where two have it, or two might be it, or the size differs, or nothing tells what it is.
    second = VectorRow("c", "s3://b/c", "v1")
    assert Counter(e[0] for e in diff([new], [lost, second])[0]) == Counter(new=1, deleted=2)
    assert Counter(e[0] for e in diff([new, SourceRow("d", "s3://b/d", "v1")], [lost])[0]) == Counter(new=2, deleted=1)
    larger = SourceRow("b", "s3://b/b", "v1", size=8)
    assert Counter(e[0] for e in diff([larger], [lost])[0]) == Counter(new=1, deleted=1)
    unknown = [VectorRow("a", "s3://b/a", None)]
    assert Counter(e[0] for e in diff([SourceRow("b", "s3://b/b", None)], unknown)[0]) == Counter(new=1, deleted=1)


def test_a_local_file_of_a_whole_second_has_not_moved() -> None:
    """Archives and some file systems give a thousand files the same one."""
    for nanoseconds, state in ((1_700_000_000_000_000_000, "deleted"), (1_700_000_000_000_000_001, "moved")):
        etag = f"{nanoseconds:x}-7"
        outcome, _ = diff([SourceRow("b", "/b.jpg", etag)], [VectorRow("a", "/a.jpg", etag)])
        assert state in {each[0] for each in outcome}


def test_an_image_that_moved_back_from_being_deleted() -> None:
    outcome, _ = diff([SourceRow("b", "s3://b/b", "v1")], [VectorRow("a", "s3://b/a", "v1", marked=True)])
    assert outcome == Counter({("moved", "b", 0, "vectors", 0): 1})


def test_dates_do_not_tell_objects_apart() -> None:
    dates = HowCompared(kept=KEPT, compared=("label",), sized=False, tells_content=False, check_http=False)
    outcome, _ = diff([SourceRow("b", "s3://b/b", "v1")], [VectorRow("a", "s3://b/a", "v1")], how=dates)
    assert Counter(each[0] for each in outcome) == Counter(new=1, deleted=1)
    outcome, _ = diff([SourceRow("a", "s3://b/b", "v1")], [VectorRow("a", "s3://b/a", "v1")], how=dates)
    assert states(outcome) == {"a": "changed"}


def test_a_version_that_lacks_a_part_does_not_tell_objects_apart() -> None:
    """The digest is null, and the date is that of many."""
    several = HowCompared(kept=KEPT, compared=("label",), sized=False, tells_content=True, check_http=False)
    for version, moved in (
        ("d\x1f2026", True),
        ("\x1f2026", False),
        ("d\x1f", False),
        ("a\x1f\x1fb", False),
        ("", False),
    ):
        outcome, _ = diff([SourceRow("b", "s3://b/b", version)], [VectorRow("a", "s3://b/a", version)], how=several)
        assert ("moved" in {each[0] for each in outcome}) == moved, version


def test_images_on_the_web_are_asked_for() -> None:
    asking = HowCompared(kept=KEPT, compared=("label",), sized=False, tells_content=False, check_http=True)
    source = [SourceRow("a", "https://h/a?X-Amz-Signature=1", ""), SourceRow("b", "s3://b/b", "")]
    vectors = [VectorRow("a", "https://h/a", ""), VectorRow("b", "s3://b/b", "")]
    outcome, idle = diff(source, vectors, how=asking)
    assert states(outcome) == {"a": "asked"}
    assert idle == Counter(unchanged=1)


def test_copies_of_what_the_source_says_stay_and_others_go() -> None:
    said = SourceRow("a", "s3://b/a", "v2")
    old, new = VectorRow("a", "s3://b/a", "v1"), VectorRow("a", "s3://b/a", "v2")
    assert diff([said], [old, new]) == (Counter({("repeated", None, None, "vectors", 0): 1}), Counter(unchanged=1))
    assert diff([said], [new, new]) == (Counter(), Counter(unchanged=2))
    outcome, idle = diff([said], [old, old])
    assert outcome == Counter({("changed", "a", 0, "vectors", 0): 1, ("repeated", None, None, "vectors", 1): 1})
    assert not idle


def test_rows_of_one_id_are_images_of_their_own() -> None:
    source = [SourceRow("a", "s3://b/1", "v1"), SourceRow("a", "s3://b/2", "v2"), SourceRow("a", "s3://b/3", "v3")]
    vectors = [VectorRow("a", "s3://b/2", "v2"), VectorRow("a", "s3://b/1", "old")]
    outcome, idle = diff(source, vectors)
    assert idle == Counter(unchanged=1)
    assert outcome == Counter({("changed", "a", 0, "vectors", 1): 1, ("new", "a", 2, None, None): 1})


ids = st.sampled_from("abcd")
uris = st.sampled_from(["s3://b/1", "s3://b/2"])
versions = st.sampled_from(["v1", "v2", None])
sources = st.lists(st.builds(SourceRow, ids, uris, versions, label=st.sampled_from(["cat", "dog"])), max_size=7)
tables = st.lists(st.builds(VectorRow, ids, uris, versions, marked=st.booleans()), max_size=7)
failed = st.lists(st.builds(FailureRow, ids, uris, st.sampled_from(["timeout", "corrupt"]), versions), max_size=5)


@settings(max_examples=200)
@given(sources, tables, failed, st.sets(ids, max_size=2))
def test_as_an_oracle_of_plain_python_says(
    source: list[SourceRow], vectors: list[VectorRow], failures: list[FailureRow], taken: set[str]
) -> None:
    assert diff(source, vectors, failures, sorted(taken)) == oracle(source, vectors, failures, taken)


def oracle(
    source: list[SourceRow], vectors: list[VectorRow], failures: list[FailureRow], taken: set[str]
) -> tuple[Outcome, Counter[str]]:
    rows: Outcome = Counter()
    idle: Counter[str] = Counter()
    new: list[int] = []
    lost: list[int] = []
    for key in "abcd":
        mine = [n for n, row in enumerate(source) if row.id == key]
        held = sorted((n for n, row in enumerate(vectors) if row.id == key), key=lambda n: (vectors[n].marked, n))
        tried = sorted((n for n, row in enumerate(failures) if row.id == key), reverse=True)
        if not mine:
            lost += held
            rows.update(("deleted", None, None, "failures", n) for n in tried)
            continue
        if key in taken:
            idle["taken_down"] += len(mine)
            continue
        pairs = []
        for rule in (same_object, same_place, lambda one, other: True):
            for s in list(mine):
                v = next((v for v in held if rule(source[s], vectors[v])), None)
                if v is not None:
                    pairs.append((s, v))
                    mine.remove(s)
                    held.remove(v)
        for s, v in pairs:
            state = state_of(source[s], vectors[v])
            if state == "unchanged":
                idle[state] += 1
            else:
                rows[(state, key, s, "vectors", v)] += 1
        said = [row for row in source if row.id == key]
        for v in held:
            if vectors[v].marked:
                rows[("gone", None, None, "vectors", v)] += 1
            elif any(same_object(row, vectors[v]) for row in said):
                idle["unchanged"] += 1
            else:
                rows[("repeated", None, None, "vectors", v)] += 1
        for s in mine:
            if tried:
                f = tried.pop(0)
                known = same_object(source[s], failures[f])
                if failures[f].error_class == "corrupt" and known:
                    idle["failed"] += 1
                else:
                    rows[("retried", key, s, "failures", f)] += 1
            else:
                new.append(s)
        rows.update(("stale", None, None, "failures", n) for n in tried)
    for version in ("v1", "v2"):
        one = [n for n in new if source[n].version == version]
        other = [n for n in lost if vectors[n].version == version]
        if len(one) == len(other) == 1:
            rows[("moved", source[one[0]].id, one[0], "vectors", other[0])] += 1
            new.remove(one[0])
            lost.remove(other[0])
    rows.update(("new", source[n].id, n, None, None) for n in new)
    rows.update(("gone" if vectors[n].marked else "deleted", None, None, "vectors", n) for n in lost)
    return rows, idle


def same_object(one: SourceRow, other: VectorRow | FailureRow) -> bool:
    return one.version is not None and (one.uri, one.version) == (other.uri, other.version)


def same_place(one: SourceRow, other: VectorRow) -> bool:
    return one.uri == other.uri


def state_of(one: SourceRow, other: VectorRow) -> str:
    if same_object(one, other):
        if other.marked:
            return "returned"
        return "unchanged" if one.label == other.label else "touched"
    moved = one.uri != other.uri and one.version == other.version and one.version is not None
    return "moved" if moved else "changed"


def test_regions_of_an_image_are_one_image() -> None:
    """In any order, and beside another image that stands at the same position because another tool put it there."""
    rows = vector_table([VectorRow("a", "s3://b/a", "v1"), VectorRow("b", "s3://b/b", "v1")])
    several = rows.take(pa.array([0, 1, 0, 1, 1]))
    source = source_table([SourceRow("a", "s3://b/a", "v1"), SourceRow("b", "s3://b/b", "v1")])
    nothing = pa.array([], pa.string())
    found = compare(source, several, failure_table([]), nothing, HOW)
    assert (found.counts["unchanged"], found.live, found.twice) == (2, 2, (0, 0))
    at = several.schema.get_field_index("row")
    several = several.set_column(at, several.schema.field(at), pa.array(np.zeros(5, np.int32)))
    found = compare(source, several, failure_table([]), nothing, HOW)
    assert found.counts["unchanged"] == 2
