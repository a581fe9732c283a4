"""A user's condition on a real table: the meaning that lancedb gives it, or a sentence before a row is read."""

from pathlib import Path

import lance
import lancedb
import pyarrow as pa
import pytest

from pipelines.scan.where import FilterError, filter_error, row_filter

ROWS = pa.table(
    {
        "Label": ["cat", "dog", None],
        "a b": [1, 2, 3],
        "end": [1, 2, 3],
        "naïve": [1, 2, 3],
        "row": pa.array([0, 1, 2], pa.int32()),
        "region": [{"kind": "whole", "My Box": 1}, {"kind": "grid", "My Box": 2}, None],
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filtered")
    lance.write_dataset(ROWS, folder / "t.lance")
    return folder


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("\"Label\" = 'cat'", 1),
        ("label = 'cat'", 1),
        ("`Label` IN ('cat', 'dog')", 2),
        ('"Label" IS NOT NULL', 2),
        ('"row" >= 1', 2),
        ('"a b" = 1 OR "end" = 3', 2),
        ('"naïve" = 2', 1),
        ('"region"."kind" = \'grid\'', 1),
        ('region."My Box" > 0', 2),
        ("row = 1 -- \"nosuch\" = 'x'", 1),
        ("row = 1 /* ' */ OR row = 2", 2),
    ],
)
def test_a_condition_means_what_it_means_in_lancedb(folder: Path, where: str, rows: int) -> None:
    dataset = lance.dataset(folder / "t.lance")
    condition = row_filter(dataset, where)
    assert dataset.count_rows(condition) == rows
    assert dataset.count_rows(f"({condition}) AND true") == rows
    assert lancedb.connect(folder).open_table("t").count_rows(where) == rows


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ('"nosuch" IS NOT NULL', "no column 'nosuch'; a word in double quotes is a column, as `nosuch` in backticks"),
        ("\"label\" = 'cat'", "no column 'label'; did you mean `Label`?"),
        ('Label = "cat"', "a text stands in single quotes: 'cat'"),
        ("lable = 'cat'", "no column 'lable'; did you mean `Label`?"),
        ("`region.kind` = 'grid'", "a field within a column is written `region`.`kind`"),
        ("region.box = 1", "Field box not found in struct"),
        ("row = 1 LIMIT 1", "found: LIMIT"),
        ("row = 1 ORDER BY row", "found: ORDER"),
        ("Label = 'a' 'b'", "found: 'b'"),
        ("row = 1) OR (row = 2", "closes nothing"),
        ("Label = N'cat'", "N before a quote"),
        ("row", "does not return a boolean"),
        ("", "Expected: an expression"),
        ("Label = '\udcff'", "surrogates not allowed"),
        ("Label = 1", "1 is not compared with a column of Utf8 as it stands; write '1'"),
    ],
)
def test_what_is_no_condition_on_this_table_is_refused_before_a_row_is_read(
    folder: Path, where: str, says: str
) -> None:
    with pytest.raises(FilterError) as refused:
        row_filter(lance.dataset(folder / "t.lance"), where)
    assert says in str(refused.value)
    assert str(refused.value).startswith("--where ")
    assert "columns: Label, `a b`, end" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert ".rs:" not in str(refused.value)


def test_a_condition_that_fails_on_a_row_is_a_sentence_too(folder: Path) -> None:
    dataset = lance.dataset(folder / "t.lance")
    with pytest.raises(OSError, match="Divide by zero") as failed:
        dataset.count_rows(row_filter(dataset, "1 / row = 1"))
    assert "Divide by zero error; columns: Label" in str(filter_error("1 / row = 1", failed.value, dataset.schema))
