"""Which images differ: made cases, each with the outcome that a person would name."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.versions.compare import ROWS, compare_failures, compare_images, pair_equal, pair_moved
from pipelines.versions.states import FAILURES, IMAGES

NOW = datetime(2026, 11, 28, tzinfo=UTC)
Image = tuple[str, str, str | None, str | None, datetime | None]


def images(*rows: Image) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [[]] * len(IMAGES)
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, IMAGES, strict=True)], schema=IMAGES
    )


def image(row_id: str, uri: str = "/a", etag: str | None = "e", sha: str | None = "s", gone: bool = False) -> Image:
    return (row_id, uri, etag, sha, NOW if gone else None)


def changes(*tables: pa.Table) -> list[tuple[str, str | None, str | None]]:
    """(change, old id, id) of each row, sorted by what is there."""
    rows = [row for table in tables for row in table.to_pylist()]
    return sorted(((r["change"], r["old_id"], r["id"]) for r in rows), key=str)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (image("i"), image("i"), []),
        (image("i", sha="s"), image("i", sha="t"), [("changed", "i", "i")]),
        (image("i", etag="e", sha="s"), image("i", etag="f", sha="s"), [("touched", "i", "i")]),
        (image("i", uri="/a"), image("i", uri="/b"), [("moved", "i", "i")]),
        (image("i", etag=None, sha=None), image("i", etag=None, sha=None), []),
        (image("i", sha=None), image("i", sha="s"), [("changed", "i", "i")]),
        (image("i", sha=None, etag="e"), image("i", sha=None, etag="f"), [("changed", "i", "i")]),
        (image("i"), image("i", gone=True), [("deleted", "i", None)]),
        (image("i", gone=True), image("i"), [("added", None, "i")]),
        (image("i", gone=True), image("i", gone=True), []),
        (image("i"), image("j"), [("added", None, "j"), ("deleted", "i", None)]),
    ],
)
def test_one_image(before: Image, after: Image, expected: list[tuple[str, str | None, str | None]]) -> None:
    found = compare_images(images(before), images(after))
    assert changes(found.settled, found.added, found.deleted) == expected
    assert found.unchanged == (not expected and before[4] is None)
    assert found.settled.schema == found.added.schema == found.deleted.schema == ROWS


def test_a_marked_image_tells_when() -> None:
    found = compare_images(images(image("i"), image("j", "/j")), images(image("i", gone=True)))
    assert {row["old_id"]: row["deleted_at"] for row in found.deleted.to_pylist()} == {"i": NOW, "j": None}


def test_regions_of_one_image_are_one_row() -> None:
    found = compare_images(images(*[image("i")] * 3), images(*[image("i", sha="t")] * 2))
    assert changes(found.settled) == [("changed", "i", "i")]
    [row] = found.settled.to_pylist()
    assert (row["old_sha256"], row["sha256"]) == ("s", "t")


def test_an_id_that_is_there_twice_is_compared_by_what_is_said_of_it() -> None:
    before = images(image("i", "/a"), image("i", "/b", sha="t"))
    assert changes(compare_images(before, images(image("i", "/b", sha="t"))).deleted) == [("deleted", "i", None)]
    found = compare_images(before, images(image("i", "/b", sha="t"), image("i", "/a", etag="f")))
    assert changes(found.settled, found.added, found.deleted) == [("touched", "i", "i")]
    assert found.unchanged == 1


def test_what_went_and_came_with_the_same_bytes_has_moved() -> None:
    gone = compare_images(
        images(image("a", "/a", sha="s"), image("b", "/b", sha="s"), image("c", "/c", sha=None)), images()
    )
    come = compare_images(
        images(), images(image("x", "/x", sha="s"), image("y", "/y", sha="t"), image("z", "/z", sha=None))
    )
    moved, added, deleted = pair_moved(come.added, gone.deleted)
    assert changes(moved) == [("moved", "a", "x")]
    assert (
        moved.to_pylist()[0] | {"old_uri": "/a", "uri": "/x", "sha256": "s", "old_sha256": "s"} == moved.to_pylist()[0]
    )
    assert changes(added) == [("added", None, "y"), ("added", None, "z")]
    assert changes(deleted) == [("deleted", "b", None), ("deleted", "c", None)]


def test_failures_come_and_go() -> None:
    def failures(*rows: tuple[str, str, str]) -> pa.Table:
        return pa.Table.from_pylist([dict(zip(FAILURES.names, row, strict=True)) for row in rows], schema=FAILURES)

    before = failures(("a", "/a", "corrupt"), ("b", "/b", "timeout"))
    after = failures(("b", "/b", "not_found"), ("c", "/c", "timeout"))
    found = compare_failures(before, after)
    assert changes(found) == [("failed", None, "c"), ("failure_gone", "a", None)]
    assert {row["error_class"] for row in found.to_pylist()} == {"timeout", "corrupt"}


@pytest.mark.parametrize("seed", range(20))
def test_pairs_are_as_many_as_there_can_be(seed: int) -> None:
    random = np.random.default_rng(seed)
    sides: list[list[Any]] = [
        [None if value == 0 else f"v{value}" for value in random.integers(0, 8, random.integers(0, 30)).tolist()]
        for _ in range(2)
    ]
    left, right = pair_equal(*(pa.chunked_array([side], pa.string()) for side in sides))
    assert len(set(left.tolist())) == len(left)
    assert len(set(right.tolist())) == len(right)
    pairs = [(sides[0][one], sides[1][other]) for one, other in zip(left.tolist(), right.tolist(), strict=True)]
    assert all(one == other is not None for one, other in pairs)
    most = sum(min(sides[0].count(value), sides[1].count(value)) for value in set(filter(None, sides[0])))
    assert len(pairs) == most
