"""The fill of a new column from the side table, beside other writers, read back by plain Lance."""

from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

from made.swaps import add, digest, expected, held, make_main, make_side, mark_deleted, rows, table_in, vector_of
from pipelines.swap.fill import fill_column
from pipelines.swap.fragment import FillFragment
from pipelines.table.errors import CommitFailedError, TableError
from pipelines.table.table import Table


def fill(table: Table, **options: Any) -> Any:
    return fill_column(table, "vector_next", "vector", **options)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return table_in(tmp_path)


def test_every_row_gets_the_vector_of_its_own_image_and_again_nothing_is_done(table: Table) -> None:
    make_main(table, range(25))
    make_side(table, rows([*range(24, -1, -1)], "vector"))
    report = fill(table)
    assert held(table) == expected(range(25))
    assert (report.rows, report.filled, sum(report.unfilled.values())) == (25, 25, 0)
    again = fill(table)
    assert (again.filled, again.commits) == (0, 0)


def test_what_cannot_be_filled_keeps_nothing_and_is_told_by_class(table: Table) -> None:
    make_main(table, range(12))
    made = pa.concat_tables([rows(range(8), "vector"), rows([8], "vector", version=1)])
    make_side(table, made, failed={9: "not_found", 10: "corrupt"})
    report = fill(table)
    assert report.unfilled == {"changed": 1, "not_found": 1, "corrupt": 1, "untried": 1}
    assert report.examples == {"changed": ["i8"], "not_found": ["i9"], "corrupt": ["i10"], "untried": ["i11"]}
    assert {name for name, vector in held(table).items() if vector is None} == {"i8", "i9", "i10", "i11"}


def test_an_image_of_several_passes_gets_the_vector_of_the_bytes_that_its_row_is_of(table: Table) -> None:
    make_main(table, range(5))
    make_side(table, pa.concat_tables([rows(range(5), "vector", version=1), rows(range(5), "vector")]))
    fill(table)
    assert held(table) == expected(range(5))


def test_each_region_gets_its_own(table: Table) -> None:
    make_main(table, range(6), regions=3)
    make_side(table, rows([3, 1, 2, 0, 5, 4], "vector", regions=3))
    assert fill(table).filled == 18
    assert held(table) == {
        f"i{number}#{index}": vector_of(number, 0, index) for number in range(6) for index in range(3)
    }


def test_a_row_marked_as_deleted_is_left_and_counts_for_nothing(table: Table) -> None:
    make_main(table, range(12))
    mark_deleted(table, [3, 11])
    make_side(table, rows(range(12), "vector"))
    report = fill(table)
    assert (report.rows, report.filled, dict(report.unfilled)) == (10, 10, {})
    assert held(table)["i3"] is None


def test_values_that_a_fragment_has_already_stay_and_rows_that_came_are_filled(table: Table) -> None:
    make_main(table, range(20))
    make_side(table, rows(range(10), "vector"))
    assert fill(table).unfilled == {"untried": 10}
    add(table, range(20, 25))
    lance.dataset(table.uri).optimize.compact_files(target_rows_per_fragment=1000)
    dataset = lance.dataset(table.uri.replace("photos.lance", "photos__swap.lance"))
    lance.write_dataset(rows(range(10, 25), "vector"), dataset.uri, mode="append")
    report = fill(table)
    assert (report.filled, len(lance.dataset(table.uri).get_fragments())) == (15, 1)
    assert held(table) == expected(range(25))


def test_rows_without_a_digest_are_not_filled(table: Table) -> None:
    make_main(table, range(3))
    lance.dataset(table.uri).update({"sha256": "NULL"}, where="id = 'i1'")
    make_side(table, rows(range(3), "vector"))
    report = fill(table)
    assert report.unfilled == {"no_sha256": 1}
    assert held(table)["i1"] is None


MEANWHILE = {
    "compaction": lambda dataset: dataset.optimize.compact_files(target_rows_per_fragment=1000),
    "delete": lambda dataset: dataset.delete("id IN ('i3', 'i17')"),
    "update": lambda dataset: dataset.update({"sha256": f"'{digest(4, 1)}'"}, where="id = 'i4'"),
    "append": lambda dataset: lance.write_dataset(
        rows([90], "vector").append_column("vector_next", pa.nulls(1, pa.list_(pa.float16(), 4))),
        dataset.uri,
        mode="append",
    ),
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_what_others_do_between_reading_and_publishing_loses_nothing(table: Table, what: str) -> None:
    make_main(table, range(20))
    make_side(table, rows([*range(20), 90], "vector"))
    done: list[str] = []

    def disturbed(task: Any, work: Any) -> Any:
        made = [task(each) for each in work]
        if not done:
            done.append(what)
            MEANWHILE[what](lance.dataset(table.uri))
        yield from made

    report = fill(table, execute=disturbed)
    there = expected(range(20))
    if what == "delete":
        there = {name: vector for name, vector in there.items() if name not in ("i3", "i17")}
    if what == "append":
        there |= expected([90])
    if what == "update":
        # Its image has other bytes by now, of which the side table has no vector.
        there["i4"] = None  # type: ignore[assignment]
        assert report.unfilled == {"changed": 1}
    assert held(table) == there


def test_two_at_once_write_the_same(table: Table) -> None:
    make_main(table, range(20))
    make_side(table, rows(range(20), "vector"))
    second: list[Any] = []

    def overtaken(task: FillFragment, work: Any) -> Any:
        made = [task(each) for each in work]
        if not second:
            second.append(fill(table))
        yield from made

    first = fill(table, execute=overtaken)
    assert (first.filled, second[0].filled) == (0, 20)
    assert held(table) == expected(range(20))


def test_a_column_that_was_dropped_meanwhile_is_an_error(table: Table) -> None:
    make_main(table, range(5))
    make_side(table, rows(range(5), "vector"))

    def dropping(task: Any, work: Any) -> Any:
        made = [task(each) for each in work]
        lance.dataset(table.uri).drop_columns(["vector_next"])
        yield from made

    with pytest.raises(TableError, match="vector_next was dropped or renamed"):
        fill(table, execute=dropping)


def test_a_fill_that_others_undo_each_time_ends_with_an_error(table: Table) -> None:
    make_main(table, range(4))
    make_side(table, rows(range(4), "vector"))

    def undone(task: Any, work: Any) -> Any:
        made = [task(each) for each in work]
        lance.dataset(table.uri).update({"vector": "vector"}, where="true")
        yield from made

    with pytest.raises(CommitFailedError, match="have published nothing"):
        fill(table, execute=undone)
