"""A filter index is published once it answers as a scan does, and docs/indexes.md says for which columns that is."""

import datetime
import decimal
import re
from functools import partial
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

from operators.base.errors import UserError
from pipelines.filter_index.build import Brought, bring_up, scalar_columns
from pipelines.filter_index.kinds import KINDS, scalar_kind
from pipelines.filter_index.trial import FilterTrial
from pipelines.filter_index.trust import answered_by_index, doubts, read_filter_record
from pipelines.index.build import IndexWork
from pipelines.table.table import Table
from pipelines.table.tasks import tasks_here

PAGE = Path(__file__).parents[3] / "docs" / "indexes.md"

NUMBERS = [1, 0, None, 100, 7, 7]
FLOATS = [0.1, float("nan"), None, float("inf"), -0.0, float("-inf")]
TEXTS = ["a'b c", "", None, "/x/ünï%_.jpg", "a'b c", "word"]
BYTES = [b"ab", b"\x00\xff", None, b"zz", b"ab", b"~~"]
DAYS = [datetime.date(2020, 1, 1), datetime.date(1960, 5, 5), None, datetime.date(2999, 12, 31)] * 2
TIMES = [0, 86399, None, 3723, 5]
MOMENTS = [0, -1, None, 1_600_000_000, 1_600_000_000]
MONEY = [decimal.Decimal("1.50"), decimal.Decimal("-99999.99"), None, decimal.Decimal(0)]
LISTS = [[1, 2], [], None, [None, 3], [2]]
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
COLUMNS: dict[str, list[pa.Array]] = {
    "bool": [pa.array([True, False, None, True])],
    **{name: [pa.array([*NUMBERS, 2 ** (63 if name == "uint64" else 6)], name)] for name in INTEGERS},
    **{name: [pa.array(FLOATS, name)] for name in ("float16", "float32", "float64")},
    "string": [pa.array(TEXTS)],
    "large_string": [pa.array(TEXTS, pa.large_string())],
    "binary": [pa.array([*BYTES, b""], pa.binary())],
    "large_binary": [pa.array([*BYTES, b""], pa.large_binary())],
    "fixed_size_binary": [pa.array(BYTES, pa.binary(2))],
    "date32": [pa.array(DAYS, pa.date32())],
    "date64": [pa.array(DAYS, pa.date64())],
    "time32": [pa.array(TIMES, pa.time32("s"))],
    "time64": [pa.array(TIMES, pa.time64("us"))],
    "timestamp": [pa.array(MOMENTS, pa.timestamp("s")), pa.array(MOMENTS, pa.timestamp("ns"))],
    "timestamp with a zone": [pa.array(MOMENTS, pa.timestamp("us", "Europe/Berlin"))],
    "duration": [pa.array(MOMENTS, pa.duration("ms"))],
    "decimal128": [pa.array(MONEY, pa.decimal128(10, 2))],
    "decimal256": [pa.array(MONEY, pa.decimal256(40, 2))],
    "list": [
        pa.array(LISTS, pa.list_(pa.int32())),
        pa.array([["a'b"], [], None, [None, "c", "a'b"]]),
        pa.array([[True], [], None, [None, False]]),
        pa.array([[0], [], None, [None, 3]], pa.list_(pa.timestamp("us", "UTC"))),
    ],
    "large_list": [pa.array(LISTS, pa.large_list(pa.float32()))],
    "fixed_size_list": [pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int16(), 2))],
    "list of lists": [pa.array([[[1], [2]], None, []])],
    "list of structs": [pa.array([[{"a": 1}], None, []])],
    "struct": [pa.array([{"a": 1}, None, {"a": None}])],
    "map": [pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int32()))],
    "dictionary": [pa.array(["abc", "b", None, "abd"]).dictionary_encode()],
    "null": [pa.nulls(4)],
}


def documented() -> dict[str, dict[str, str]]:
    """Type -> kind -> `yes`, `refused` or `-`, as the page says."""
    rows = {}
    for line in PAGE.read_text().partition("### Kinds by column type")[2].partition("\n### ")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            for name in re.findall("`([^`]+)`", cells[0]):
                rows[name] = dict(zip(KINDS, (cell.partition(" ")[0] for cell in cells[1:]), strict=True))
    return rows


def place_of(folder: Path, *values: pa.Array, stable: bool = False) -> IndexWork:
    """A fragment for each array."""
    for number, array in enumerate(values):
        options = {"mode": "append"} if number else {"enable_stable_row_ids": stable}
        lance.write_dataset(pa.table({"c": array}), folder / "t.lance", data_storage_version="2.2", **options)
    return reopened(folder)


def reopened(folder: Path) -> IndexWork:
    dataset = lance.dataset(folder / "t.lance")
    return IndexWork(table=Table.of(dataset.uri), dataset=dataset, execute=tasks_here, workers=1)


def test_the_page_speaks_of_every_type_that_a_table_holds() -> None:
    assert set(documented()) == set(COLUMNS)


@pytest.mark.parametrize("name", list(COLUMNS))
def test_each_kind_does_what_the_page_says(name: str, tmp_path: Path) -> None:
    for number, values in enumerate(COLUMNS[name]):
        folder = tmp_path / str(number)
        last = pa.array([np.nan, None], values.type) if pa.types.is_floating(values.type) else values.slice(1)
        place_of(folder, values, last)
        seen = {}
        for kind in KINDS:
            if documented()[name][kind] == "-":
                for refuse in (
                    partial(scalar_kind, pa.schema([("c", values.type)]), "c", kind),
                    partial(bring_up, reopened(folder), "c", kind),
                ):
                    with pytest.raises(UserError, match=f"--scalar c={kind}: Lance has no {kind} for "):
                        refuse()
                seen[kind] = "-"
                continue
            assert scalar_kind(pa.schema([("c", values.type)]), "c", kind) == kind
            status = bring_up(reopened(folder), "c", kind).status
            seen[kind] = "refused" if status == "refused" else "yes"
        assert seen == documented()[name], values.type
        dataset = lance.dataset(folder / "t.lance")
        right = [kind for kind, done in seen.items() if done == "yes"]
        assert [index.name for index in dataset.describe_indices()] == ["pixlake_c"] * bool(right)
        assert doubts(dataset) == {}


@pytest.mark.parametrize(
    ("kind", "instead", "values", "filter"),
    [
        (
            "BITMAP",
            "ZONEMAP",
            pa.array([True, None, False]),
            "NOT (`c` IS TRUE) gives 1 rows by it and 2 rows by a scan",
        ),
        ("NGRAM", "BTREE", pa.array(["a b", "c/d e"]), "contains(`c`, "),
        ("ZONEMAP", "BTREE", pa.array([np.nan, None]), "gives 0 rows by it and 1 rows by a scan"),
    ],
)
def test_a_refusal_names_the_filter_and_what_to_use(
    kind: str, instead: str, values: pa.Array, filter: str, tmp_path: Path
) -> None:
    files = sorted(path for path in place_of(tmp_path, values).dataset.uri and (tmp_path / "t.lance").rglob("*"))
    refused = bring_up(reopened(tmp_path), "c", kind)
    assert refused.status == "refused"
    assert refused.why.startswith(f"no {kind} on c is published: ")
    assert filter in refused.why
    assert f"--scalar c={instead}" in refused.why
    assert [path for path in sorted((tmp_path / "t.lance").rglob("*")) if path.is_file()] == [
        p for p in files if p.is_file()
    ]
    assert bring_up(reopened(tmp_path), "c", instead).status == "built"


def test_what_was_in_force_stays_if_it_is_right(tmp_path: Path) -> None:
    assert bring_up(place_of(tmp_path, pa.array([True, False, True])), "c", "BITMAP").status == "built"
    lance.write_dataset(
        pa.table({"c": [None, True]}, schema=pa.schema([("c", pa.bool_())])), tmp_path / "t.lance", mode="append"
    )
    refused = bring_up(reopened(tmp_path), "c", "BITMAP")
    assert refused.status == "refused"
    assert "what was in force still is" in refused.why
    dataset = lance.dataset(tmp_path / "t.lance")
    assert [index.name for index in dataset.describe_indices()] == ["pixlake_c"]
    assert doubts(dataset) == {}
    assert dataset.count_rows("NOT (c IS TRUE)") == 2, "the row without a value is none of its rows"


def test_what_was_in_force_goes_if_it_answers_as_wrongly(tmp_path: Path) -> None:
    assert bring_up(place_of(tmp_path, pa.array([True, False, True])), "c", "BITMAP").status == "built"
    lance.write_dataset(
        pa.table({"c": [None, True]}, schema=pa.schema([("c", pa.bool_())])), tmp_path / "t.lance", mode="append"
    )
    lance.dataset(tmp_path / "t.lance").optimize.optimize_indices()
    dataset = lance.dataset(tmp_path / "t.lance")
    assert dataset.count_rows("NOT (c IS TRUE)") == 1, "another tool has put the null into the index"
    assert "changed by another tool" in doubts(dataset)["c"]
    assert not answered_by_index(dataset, "NOT (`c` IS TRUE)")
    assert "was taken away" in bring_up(reopened(tmp_path), "c", "BITMAP").why
    assert lance.dataset(tmp_path / "t.lance").count_rows("NOT (c IS TRUE)") == 2


def test_an_index_of_another_tool_is_asked_beside_ours_and_never_replaced(tmp_path: Path) -> None:
    place_of(tmp_path, pa.array(["a", "b", None])).dataset.create_scalar_index("c", "BTREE", name="c_idx")
    assert scalar_columns(lance.dataset(tmp_path / "t.lance"), ["c"], []) == {"c": "BTREE"}
    assert "made by another tool" in doubts(lance.dataset(tmp_path / "t.lance"))["c"]
    assert bring_up(reopened(tmp_path), "c", "BTREE").status == "built"
    dataset = lance.dataset(tmp_path / "t.lance")
    assert {index.name for index in dataset.describe_indices()} == {"c_idx", "pixlake_c"}
    assert doubts(dataset) == {}
    record = read_filter_record(dataset, "c")
    assert record is not None
    assert (record.kind, record.rows, len(record.segments)) == ("BTREE", 3, 2)


def test_an_index_of_another_tool_that_answers_wrongly_is_named(tmp_path: Path) -> None:
    place_of(tmp_path, pa.array([True, None, False])).dataset.create_scalar_index("c", "BITMAP", name="theirs")
    refused = bring_up(reopened(tmp_path), "c", "ZONEMAP")
    assert refused.status == "refused"
    assert "so does theirs, which another tool made" in refused.why
    assert [index.name for index in lance.dataset(tmp_path / "t.lance").describe_indices()] == ["theirs"]
    assert not answered_by_index(lance.dataset(tmp_path / "t.lance"), "NOT (`c` IS TRUE)")


@pytest.mark.parametrize("stable", [False, True])
def test_old_values_are_not_found_after_an_update(stable: bool, tmp_path: Path) -> None:
    """With stable row ids a piece for the changed rows beside the old one would find them by both values."""
    assert bring_up(place_of(tmp_path, pa.array(range(40)), stable=stable), "c", "BTREE").status == "built"
    lance.dataset(tmp_path / "t.lance").update({"c": "1000"}, where="c < 10")
    brought = bring_up(reopened(tmp_path), "c", "BTREE")
    assert brought.status == ("anew" if stable else "updated")
    assert ("keep their row ids" in brought.why) == stable
    dataset = lance.dataset(tmp_path / "t.lance")
    assert (dataset.count_rows("c < 10"), dataset.count_rows("c = 1000")) == (0, 10)
    assert bring_up(reopened(tmp_path), "c", "BTREE") == Brought(kind="BTREE", status="up_to_date")


def test_a_death_before_publication_leaves_the_old_one_doubted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def die(*arguments: Any) -> None:
        raise Killed

    assert bring_up(place_of(tmp_path, pa.array(range(40))), "c", "BTREE").status == "built"
    with monkeypatch.context() as patched:
        patched.setattr("pipelines.filter_index.build.publish", die)
        with pytest.raises(Killed):
            bring_up(reopened(tmp_path), "c", "ZONEMAP")
    assert set(doubts(lance.dataset(tmp_path / "t.lance"))) == {"c"}
    assert bring_up(reopened(tmp_path), "c", "BTREE").status == "asked"
    assert doubts(lance.dataset(tmp_path / "t.lance")) == {}


def test_a_filter_is_left_to_an_index_only_if_it_names_no_column_in_doubt(tmp_path: Path) -> None:
    dataset = place_of(tmp_path, pa.array(["a", "b"])).dataset
    dataset.create_scalar_index("c", "BTREE")
    assert not answered_by_index(dataset, "`c` = 'a'")
    assert not answered_by_index(dataset, "C = 'a'")
    assert answered_by_index(dataset, "`cc` = 'a'")
    assert answered_by_index(dataset, None)


@pytest.mark.parametrize("kind", ["BITMAP", "ZONEMAP"])
def test_of_a_large_table_the_fragment_with_the_rare_value_is_asked(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.filter_index.trial.ASKED_ROWS", 20)
    usual = pa.array([True, False] * 5) if kind == "BITMAP" else pa.array(np.arange(10.0))
    rare = pa.array([None, True]) if kind == "BITMAP" else pa.array([np.nan, None])
    work = place_of(tmp_path, *[usual] * 6, rare, *[usual] * 6)
    trial = FilterTrial(work.dataset, "c")
    assert trial.fragments is not None
    assert 6 in trial.fragments
    assert len(trial.fragments) <= 4
    assert bring_up(work, "c", kind).status == "refused"
    work = place_of(tmp_path / "without", *[usual] * 13)
    assert bring_up(work, "c", kind).status == "built"
