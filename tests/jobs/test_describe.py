"""What `describe` says of a table, against what was put into it."""

import json
from pathlib import Path

import lance
import pyarrow as pa
import pytest

from jobs.describe import DescribeConfig, as_text, run
from made.table import Made, make
from operators.base.errors import UserError


def test_rows_model_space_manifests_and_runs(made: Made) -> None:
    described = run(DescribeConfig(table=made.table))
    assert (described.vectors, described.failures) == (5, 2)
    [(name, column)] = described.vector_columns.items()
    assert (name, column.model, column.dim) == ("vector", "null", 192)
    assert {name: column.space_digest} == made.report.space_digests
    assert set(column.space) == {"decode", "embed", "normalize"}
    assert described.columns["length"] == "int32"
    [manifest] = described.manifests
    assert (manifest.rows, manifest.status, manifest.source) == (7, "complete", str(made.manifest))
    assert made.report.run_id in [r["run_id"] for r in described.runs]
    assert described.runs[0]["status"] == "complete"
    assert (described.runs[0]["embedded_now"], described.runs[0]["failed_now"]) == (5, 2)
    json.dumps(described.model_dump(mode="json"), allow_nan=False)


def test_as_text_has_a_line_for_each(made: Made) -> None:
    text = as_text(run(DescribeConfig(table=made.table)))
    for line in (
        "rows       5 vectors, 2 failures",
        "model      vector: null, 192-d",
        "indexes    none: searches compare with every row",
        "space      vector: decode.alpha: white\n",
        "space      vector: decode.preprocess.fill: 0, 0, 0\n",
        "space      vector: normalize.l2: yes\n",
        f"digest     vector: {made.report.space_digests['vector']}",
        f"manifest   {made.manifest}: 7 rows, complete, run {made.report.run_id}",
        "5 vectors, 2 failures, ",
    ):
        assert line in text
    assert "null" not in text.replace("vector: null", "").replace("family: null", "").replace("network: null", "")
    assert "{" not in text


def test_tables_that_are_missing_or_foreign_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is none at"):
        run(DescribeConfig(table=str(tmp_path / "none")))
    for name, columns in (("plain", {"a": [1]}), ("foreign", {"vector": [[1.0]]})):
        lance.write_dataset(pa.table(columns), tmp_path / f"{name}.lance")
        with pytest.raises(UserError, match=r"has a recorded space, so it is not one of Pixlake's"):
            run(DescribeConfig(table=str(tmp_path / name)))


def test_an_index_made_since_is_named(tmp_path: Path) -> None:
    made = make(tmp_path)
    lance.dataset(f"{made.table}.lance").create_scalar_index("id", "BTREE", name="by_id")
    described = run(DescribeConfig(table=made.table))
    assert described.indexes == ["by_id"]
    assert "indexes    by_id" in as_text(described)


@pytest.mark.parametrize("text", ["no JSON", "[1]", '{"run_id": "x"}', ""])
def test_a_report_of_something_else_is_passed_over(tmp_path: Path, text: str) -> None:
    made = make(tmp_path)
    other = Path(f"{made.table}__runs") / "other"
    other.mkdir()
    (other / "report.json").write_text(text)
    assert [each["run_id"] for each in run(DescribeConfig(table=made.table)).runs] == [made.report.run_id]


def test_a_report_that_cannot_be_read_is_no_bug_of_ours(tmp_path: Path) -> None:
    made = make(tmp_path)
    report = Path(f"{made.table}__runs") / made.report.run_id / "report.json"
    report.unlink()
    report.symlink_to(report)
    with pytest.raises(OSError, match=r"the reports in .*colours__runs cannot be read: .*symbolic links") as error:
        run(DescribeConfig(table=made.table))
    assert "\n" not in str(error.value)
