"""When too many rows failed, and which reason is named."""

from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

from jobs.reports.frequent_failure import exceeds, most_frequent
from jobs.reports.remedies import REMEDIES, remedy
from jobs.reports.run_report import Report, summary
from made.table import Made
from operators.base.errors import ErrorClass


@pytest.mark.parametrize(
    ("failures", "vectors", "share", "too_many"),
    [
        (0, 0, 0.5, False),
        (0, 0, 0.0, False),
        (1, 1, 0.5, False),
        (2, 1, 0.5, True),
        (1, 9, 0.0, True),
        (9, 0, 1.0, False),
    ],
)
def test_more_than_the_share_is_too_many(failures: int, vectors: int, share: float, too_many: bool) -> None:
    assert exceeds(failures, vectors, share) is too_many


def table_of(folder: Path, rows: list[tuple[int, str, str]]) -> Any:
    shards, classes, errors = zip(*rows, strict=True)
    columns = {"shard": pa.array(shards, pa.int32()), "error_class": classes, "error": errors}
    return lance.write_dataset(pa.table(columns), str(folder / "f.lance"))


def test_the_most_frequent_error_of_the_most_frequent_class_of_the_manifest(tmp_path: Path) -> None:
    rows = [(1, "corrupt", "of another manifest")] * 9
    rows += [(2, "not_found", "no such file")] * 3 + [(3, "timeout", "slow")] * 2
    rows += [(2, "timeout", "slower"), (3, "timeout", "never")]
    found = most_frequent(table_of(tmp_path, rows), 2, 2)
    assert found is not None
    assert (found.error_class, found.rows, found.error) == ("timeout", 4, "slow")
    assert found.remedy == f"{REMEDIES[ErrorClass.TIMEOUT]}; then `pixlake embed` as before with --retry-failed timeout"
    assert most_frequent(table_of(tmp_path / "b", [(1, "corrupt", "x")]), 2, 2) is None


def test_every_class_has_a_remedy_whose_options_its_docs_name_too() -> None:
    lines = (Path(__file__).parents[3] / "docs/failures.md").read_text().splitlines()
    assert set(REMEDIES) == set(ErrorClass)
    for error_class, said in REMEDIES.items():
        [line] = [line for line in lines if line.startswith(f"| `{error_class}` |")]
        options = [word.strip(",;:()") for word in said.split() if word.strip(",;:()").count(".") == 1]
        assert all(option in line for option in options), (error_class, options)
        assert remedy(error_class).startswith(f"{said}; then `pixlake embed` as before ")


def changed(made: Made, **values: Any) -> Report:
    return made.report.model_copy(update=values)


def test_the_reason_and_its_remedy_are_the_last_lines(made: Made) -> None:
    most = {"error_class": "not_found", "rows": 6, "error": "no such file", "remedy": "look"}
    report = Report.model_validate(
        {**made.report.model_dump(), "vectors": 1, "failures": 6, "most_frequent_failure": most, "notices": ["odd"]}
    )
    assert report.too_many_failed
    assert summary(report).splitlines()[-4:] == [
        "  notice: odd",
        "  too many failures: 6 of 7 rows, and --max-failed allows 0.5 of them",
        "  most often: not_found, 6 rows, such as: no such file",
        "  remedy: look",
    ]
    assert not report.model_copy(update={"status": "interrupted"}).too_many_failed
    assert not made.report.too_many_failed
    assert "too many" not in summary(made.report)
