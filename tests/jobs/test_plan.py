"""A plan against the run that it is of: what is read, written and asked for is what then is."""

from pathlib import Path

import pyarrow as pa
import pytest

from jobs import embed
from jobs.config.load import load_config
from jobs.plan import RAY_CORE_S, RAY_MORE, RAY_S, CostPlan, PlanConfig, as_text, run
from jobs.planning.index_plan import index_plan
from made.photos import SETTINGS, Photos
from operators.base.errors import UserError

ROWS = 60
MISSING = range(0, ROWS, 6)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    return Photos(tmp_path_factory.mktemp("planned"))


def planned(manifest: str, *sets: str) -> CostPlan:
    base = {"source": {"uri": manifest}, "model": {"name": "null"}, "sample": ROWS, "price": "2/h"}
    return run(load_config(PlanConfig, sets=(*SETTINGS, *sets), base=base))


@pytest.fixture(scope="module")
def plan(photos: Photos) -> CostPlan:
    return planned(photos.manifest(range(ROWS), missing=MISSING))


def test_a_plan_of_all_rows_is_what_the_run_then_does(photos: Photos, plan: CostPlan) -> None:
    report = photos.embed(f"{photos.folder}/m.parquet", "reuse=false")
    assert plan.rows == plan.tried == report.rows == ROWS
    assert plan.bytes_read.value == pytest.approx(report.image_bytes)
    assert plan.failures.value == pytest.approx(report.failures) == len(MISSING)
    assert plan.requests.value == pytest.approx((report.requests_per_image or 0) * ROWS)
    assert plan.bytes_written.value == pytest.approx(report.written_bytes, rel=0.1)


def test_nothing_is_made_but_the_plan(photos: Photos, plan: CostPlan, tmp_path: Path) -> None:
    before = sorted(photos.folder.rglob("*"))
    planned(f"{photos.folder}/m.parquet")
    assert sorted(photos.folder.rglob("*")) == before


def test_costs_and_hours_follow_from_the_pace(plan: CostPlan) -> None:
    assert plan.cost is not None
    assert plan.cost.value == pytest.approx(2 * plan.hours.value)
    assert plan.hours.value * 3600 >= ROWS / plan.images_per_s.value
    assert plan.images_per_s.low < plan.images_per_s.value < plan.images_per_s.high
    assert plan.core_hours is not None
    assert [name for name, each in plan.stages.items() if each.binds] == [plan.bound_by]
    assert "(binds)" in as_text(plan)


def test_more_rows_than_are_opened_are_taken_as_said(photos: Photos, plan: CostPlan) -> None:
    many = planned(f"{photos.folder}/m.parquet", "rows=6000")
    assert (many.rows, many.counted) == (6000, False)
    assert many.bytes_read.value == pytest.approx(100 * plan.bytes_read.value)


def test_on_ray_the_start_is_longer_and_more_is_possible_than_in_a_trial(photos: Photos) -> None:
    on_ray = planned(f"{photos.folder}/m.parquet", "rows=100000", "cluster.executor=ray")
    assert on_ray.executor == "ray"
    assert on_ray.start.seconds > RAY_S
    assert on_ray.start.core_seconds is not None
    assert on_ray.start.core_seconds > RAY_CORE_S
    assert on_ray.images_per_s.low < on_ray.images_per_s.value / RAY_MORE
    assert on_ray.core_hours is not None
    assert on_ray.core_hours.high > on_ray.core_hours.value


def test_an_index_is_planned_as_it_would_be_tried() -> None:
    field = pa.field("vector", pa.list_(pa.float16(), 512))
    assert index_plan(field, 1000).type is None
    large = index_plan(field, 1_000_000)
    assert large.type == "IVF_RQ, 1,000 partitions, 1 bits"
    assert large.bytes == pytest.approx(1e6 * (512 / 8 + 16) + 4 * 1000 * 512)
    larger = index_plan(field, 4_000_000)
    assert large.core_hours is not None
    assert larger.core_hours is not None
    # Twice the partitions of four times the rows; timings differ.
    assert 3 < larger.core_hours.value / large.core_hours.value < 20


def test_a_model_that_bills_is_not_tried() -> None:
    base = {"source": {"uri": "x"}, "model": {"name": "vertex:multimodalembedding@001/1408"}}
    with pytest.raises(UserError, match="bills for each image"):
        run(load_config(PlanConfig, base=base))


def test_the_file_of_an_embed_job_serves(photos: Photos, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(f"table: {photos.table}\nmodel: {{name: 'null'}}\nmax_failed: 1\n")
    loaded = load_config(PlanConfig, files=[str(file)], base={"source": {"uri": "x"}})
    assert loaded.columns == embed.load(files=[str(file)], base={"source": {"uri": "x"}}).columns
