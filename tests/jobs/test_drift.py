"""`pixlake drift`: what came, copies, failures, groups, spaces, states, exit codes, the picture."""

import json
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from end_to_end.command import pixlake_here
from jobs.config.load import ConfigError, load_config
from jobs.drift import DriftConfig, run
from jobs.reports.drift import ComparisonResult, DriftReport, as_text
from made import vectors as made_vectors
from made.photos import Photos
from made.vectors import append, clustered
from operators.base.arrays import vectors_from_numpy
from operators.base.columns import DELETED_AT, SHA256
from operators.base.errors import UserError
from pipelines.commits.sink import FAILURES_SCHEMA
from pipelines.table.names import TableNames
from pipelines.table.table import Table
from pipelines.versions.tags import tag_state

DIM = 16


def drift(table: str, **given: Any) -> DriftReport:
    return run(load_config(DriftConfig, base={"table": table, **given}))


def rows_of(vectors: np.ndarray, first: int, sha256: list[str] | None = None) -> pa.Table:
    rows = made_vectors.rows_of(vectors_from_numpy(vectors), first)
    names = sha256 or [f"sha of {first + at}" for at in range(len(vectors))]
    return rows.append_column(SHA256, pa.array(names))


def unit(vectors: np.ndarray) -> np.ndarray:
    units: np.ndarray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return units


def another_class(rows: int, seed: int) -> np.ndarray:
    centre = np.random.default_rng(7).normal(size=DIM)
    return unit(centre + 0.3 * np.random.default_rng(seed).normal(size=(rows, DIM)))


@pytest.fixture
def table(tmp_path: Path) -> str:
    """300 rows under the tag `before`."""
    name = str(tmp_path / "lake" / "photos")
    append(name, rows_of(clustered(300, DIM), 0))
    lance.write_dataset(FAILURES_SCHEMA.empty_table(), TableNames.from_table(name).failures)
    tag_state(Table.of(name), "before")
    return name


def fail(table: str, count: int, first: int, error_class: str = "timeout") -> None:
    rows = [
        {"id": f"f{at}", "uri": f"/f{at}.jpg", "error_class": error_class, "shard": 0, "row": at}
        for at in range(first, first + count)
    ]
    lance.write_dataset(
        pa.Table.from_pylist(rows, FAILURES_SCHEMA), TableNames.from_table(table).failures, mode="append"
    )


def test_more_of_the_same_exceeds_nothing(table: str) -> None:
    append(table, rows_of(clustered(200, DIM, seed=3), 300))
    report = drift(table, from_state="before")
    assert (report.came, report.carried, report.left) == (200, 0, 0)
    assert (report.before.rows, report.after.rows) == (300, 500)
    assert report.exceeded == []
    assert {each.of: each.vectors for each in report.figures} == {"came": (300, 200), "all": (300, 500)}
    assert report.figures[0].standard_errors == pytest.approx(1, abs=0.6)
    assert report.agreement is not None
    assert report.agreement.overlap == 1
    assert "nothing exceeds its threshold" in as_text(report)


def test_a_tenth_of_another_class_exceeds_and_is_farthest(table: str) -> None:
    mixed = np.concatenate([another_class(30, 1), clustered(270, DIM, seed=3)])
    append(table, rows_of(mixed, 300))
    report = drift(table, from_state="before", farthest=5)
    assert any(line.startswith("came: frechet") for line in report.exceeded)
    cosines = mixed @ clustered(300, DIM).T
    order = np.argsort(cosines.max(axis=1))[:5]
    assert [each.id for each in report.farthest] == [f"i{300 + at}" for at in order]
    assert [each.nearest_id for each in report.farthest] == [f"i{at}" for at in cosines[order].argmax(axis=1)]
    assert [each.cosine for each in report.farthest] == pytest.approx(cosines[order].max(axis=1), abs=1e-5)
    assert sum(at < 30 for at in order) >= 4


def test_images_with_bytes_that_were_there_did_not_come(table: str) -> None:
    """Under another position and id: moved, touched, copied. And what is gone has left."""
    carried = clustered(300, DIM)[:50]
    append(table, rows_of(carried, 300, [f"sha of {at}" for at in range(50)]))
    lance.dataset(f"{table}.lance").delete("`row` < 50")
    report = drift(table, from_state="before")
    assert (report.came, report.carried, report.left) == (0, 50, 50)
    assert report.comparisons == []
    assert report.notes == ["nothing has come"]
    assert report.exceeded == []


def test_rows_marked_as_deleted_are_on_neither_side(table: str) -> None:
    append(table, rows_of(another_class(60, 1), 300))
    dataset = lance.dataset(f"{table}.lance")
    dataset.add_columns(pa.schema([DELETED_AT]))
    dataset.update({"deleted_at": "now()"}, where="`row` >= 290")
    report = drift(table, from_state="before")
    assert (report.came, report.left, report.after.rows) == (0, 10, 290)
    tag_state(Table.of(table), "marked")
    append(table, rows_of(clustered(40, DIM, seed=3), 400).append_column(DELETED_AT, pa.nulls(40, DELETED_AT.type)))
    later = drift(table, from_state="marked")
    assert (later.came, later.before.rows, later.before.images_drawn) == (40, 290, 290)


def test_failures_of_what_came(table: str) -> None:
    fail(table, 3, 1000)
    tag_state(Table.of(table), "before", move=True)
    append(table, rows_of(clustered(100, DIM, seed=4), 300))
    fail(table, 20, 2000)
    fail(table, 5, 3000, "corrupt")
    failures = drift(table, from_state="before").failures
    assert failures is not None
    assert failures.images == (303, 428, 125)
    assert failures.before == {"timeout": 3 / 303}
    assert failures.after == {"corrupt": 5 / 428, "timeout": 23 / 428}
    assert failures.came == {"corrupt": 5 / 125, "timeout": 20 / 125}
    assert failures.exceeded
    allowed = drift(table, from_state="before", thresholds={"failures": 0.5})
    assert allowed.exceeded == []


def comparison(report: DriftReport, of: str) -> ComparisonResult:
    [found] = [each for each in report.comparisons if each.of == of]
    return found


def test_groups_are_compared_each_with_itself(table: str) -> None:
    """Of what came, the odd rows are of another class: `even` false differs, true does not."""
    came = clustered(200, DIM, seed=3)
    came[1::2] = another_class(100, 1)
    append(table, rows_of(came, 300))
    report = drift(table, from_state="before", group="even")
    assert {each.value: each.tested for each in report.groups} == {"true": True, "false": True}
    assert [each.of for each in report.comparisons] == ["came", "true", "false"]
    assert any(each.exceeded for each in comparison(report, "false").measures)
    assert not any(each.exceeded for each in comparison(report, "true").measures)
    # The whole, two groups and the failures share the significance.
    assert comparison(report, "true").level == pytest.approx(0.05 / 4)
    with pytest.raises(UserError, match=r"--group nobody: no such column; there: shard, row"):
        drift(table, from_state="before", group="nobody")


def test_two_tables_and_the_same_table_twice(table: str, tmp_path: Path) -> None:
    other = str(tmp_path / "lake" / "other")
    append(other, rows_of(another_class(120, 1), 0, [f"other {at}" for at in range(120)]))
    lance.write_dataset(FAILURES_SCHEMA.empty_table(), TableNames.from_table(other).failures)
    report = drift(table, with_table=other)
    assert report.comparing == "tables"
    assert report.comparisons[0].auc_interval[0] > 0.9
    assert report.exceeded
    same = drift(table, with_table=table)
    assert same.exceeded == []
    assert {each.p for each in same.comparisons[0].measures} <= {1.0} | {
        each.p for each in same.comparisons[0].measures if each.p > 0.3
    }
    assert same.near_duplicates is not None
    assert same.near_duplicates.before == 1


def test_a_state_that_is_not_there_and_nothing_to_compare_with(table: str) -> None:
    with pytest.raises(UserError, match=r"there is no tag 'never'; the latest are before"):
        drift(table, from_state="never")
    with pytest.raises(UserError, match="there is no version 99"):
        drift(table, from_state="99")
    with pytest.raises(ConfigError, match="nothing to compare with: give --from TAG"):
        drift(table)
    with pytest.raises(UserError, match="photos at before: no vector column 'nobody'"):
        drift(table, from_state="before", columns=["nobody"])


@pytest.mark.parametrize("rows", [1, 2, 19])
def test_too_few_images_are_not_tested(table: str, rows: int) -> None:
    append(table, rows_of(another_class(rows, 1), 300))
    report = drift(table, from_state="before")
    assert report.came == rows
    assert report.comparisons == []
    assert report.exceeded == []
    assert len(report.farthest) == min(rows, 10)
    assert report.notes == ["a side has fewer than 20 images to test: what differs may be chance"]


def test_vectors_that_are_no_numbers_are_counted_and_passed_over(table: str) -> None:
    came = clustered(60, DIM, seed=3)
    came[0, 3], came[1, 0], came[2] = np.nan, np.inf, 0
    append(table, rows_of(came, 300))
    report = drift(table, from_state="before")
    assert (report.after.not_finite, report.after.zeros, report.after.images_drawn) == (2, 1, 58)
    assert report.exceeded == []
    json.dumps(report.model_dump(mode="json"), allow_nan=False)


def test_the_command_exits_with_three_and_draws(table: str, tmp_path: Path) -> None:
    append(table, rows_of(another_class(60, 1), 300))
    plot = tmp_path / "drift.png"
    ended = pixlake_here("drift", table, "--from", "before", "--json", "--plot", str(plot))
    assert ended.code == 3
    assert ended.json["came"] == 60
    assert ended.json["exceeded"]
    assert Image.open(plot).size[0] > 1000
    off = [f"thresholds.{name}=null" for name in ("mean", "frechet", "auc", "clusters", "norms")]
    shown = pixlake_here("drift", table, "--from", "before", *(word for each in off for word in ("--set", each)))
    assert shown.code == 0, shown.err
    assert "nothing exceeds its threshold" in shown.out


def test_a_column_of_another_model_is_named(tmp_path: Path) -> None:
    """Under the same name and of the same length: no distance between the two is told, unless asked for."""
    photos = Photos(tmp_path)
    photos.embed(photos.manifest(range(40)))
    tag_state(Table.of(photos.table), "before")
    dataset = lance.dataset(f"{photos.table}.lance")
    metadata = dict(dataset.schema.field("vector").metadata)
    record = json.loads(metadata[b"pixlake.space"])
    record["embed"]["name"] = "another"
    changed = {key.decode(): value.decode() for key, value in metadata.items()}
    dataset.update_field_metadata({"vector": {**changed, "pixlake.space": json.dumps(record)}})
    report = drift(photos.table, from_state="before")
    assert not report.same_space
    assert report.differences == ['embed.name: before null, after "another"']
    [exceeded] = report.exceeded
    assert exceeded.startswith("vector: another model or other settings than before")
    assert (report.figures, report.comparisons, report.near_duplicates) == ([], [], None)
    assert report.agreement is not None
    assert report.agreement.overlap == 1
    assert "another space:" in as_text(report)
    assert drift(photos.table, from_state="before", thresholds={"another_model": False}).exceeded == []
