"""One stage at work: its operators in order, and the seconds of each told row by row."""

import time
import weakref
from dataclasses import replace
from typing import Any, ClassVar, cast

import numpy as np
import pyarrow as pa
import pytest

from operators.api.quota import LocalQuota, QuotaLimits
from operators.base.arrays import binary_in_place
from operators.base.columns import ERROR_FIELDS
from operators.base.errors import ErrorClass, Failure
from operators.base.operator import Operator, OperatorConfig
from operators.base.rows import fail_rows
from pipelines.run.quota import Exhausted
from pipelines.run.stage import BlockParts, Resources, Reuse, Stage
from pipelines.run.worker import StageWorker, add_seconds

CLOSED: list[int] = []
BUILT: dict[int, tuple[float, float]] = {}
"""Number of a step -> when its building began and ended."""


class StepConfig(OperatorConfig):
    """Adds a column `step<N>` that counts the columns before it, after `sleep_s`."""

    name: ClassVar[str] = "step"

    number: int
    sleep_s: float = 0.0

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return schema.append(pa.field(f"step{self.number}", pa.int64()))

    def build(self) -> Operator[Any]:
        return Step(self)


class LateConfig(StepConfig):
    name: ClassVar[str] = "late"


class SlowToBuildConfig(StepConfig):
    def build(self) -> Operator[Any]:
        began = time.perf_counter()
        time.sleep(0.1)
        BUILT[self.number] = (began, time.perf_counter())
        return Step(self)


class SlowLateConfig(SlowToBuildConfig):
    name: ClassVar[str] = "late"


class Step(Operator[StepConfig]):
    def transform(self, batch: pa.Table) -> pa.Table:
        time.sleep(self.config.sleep_s)
        counts = pa.array([batch.num_columns] * batch.num_rows, pa.int64())
        return batch.append_column(f"step{self.config.number}", counts)

    def close(self) -> None:
        CLOSED.append(self.config.number)


def block(rows: int) -> pa.Table:
    return pa.table({"row": list(range(rows)), **{f.name: pa.nulls(rows, f.type) for f in ERROR_FIELDS}})


def worker(*operators: OperatorConfig) -> StageWorker:
    return StageWorker(Stage(name="s", operators=operators, resources=Resources(num_actors=1)))


def test_operators_run_in_order_and_each_has_its_seconds() -> None:
    out = worker(StepConfig(number=1, sleep_s=0.05), LateConfig(number=2, sleep_s=0.2))(block(4))
    assert out["step1"].to_pylist() == [6] * 4
    assert out["step2"].to_pylist() == [7] * 4
    assert out.schema.field("seconds_step").type == pa.float32()
    step, late = (sum(out[f"seconds_{name}"].to_pylist()) for name in ("step", "late"))
    assert 0.05 <= step < 0.2 <= late < 0.5


def test_the_sum_over_rows_is_the_time_spent_however_blocks_are_cut() -> None:
    timed = add_seconds(block(7), "x", 3.5)
    assert timed["seconds_x"].to_pylist() == [0.5] * 7
    cut = pa.concat_tables([timed.slice(0, 2), timed.slice(2)])
    assert sum(cut["seconds_x"].to_pylist()) == pytest.approx(3.5)
    assert add_seconds(block(0), "x", 3.5).num_rows == 0


def test_operators_of_one_name_are_timed_together() -> None:
    out = worker(StepConfig(number=1, sleep_s=0.05), LateConfig(number=2), StepConfig(number=3, sleep_s=0.1))(block(4))
    assert [name for name in out.column_names if name.startswith("seconds")] == [
        "seconds_step",
        "seconds_late",
        "seconds_load_s",
    ]
    assert 0.15 <= sum(out["seconds_step"].to_pylist()) < 0.5
    assert [out[f"step{n}"][0].as_py() for n in (1, 2, 3)] == [6, 7, 8]


def test_each_row_tells_what_its_actor_took_to_build_its_operators() -> None:
    made = worker(SlowToBuildConfig(number=1), LateConfig(number=2))
    loads = made(block(4))["seconds_load_s"].to_pylist() + made(block(2))["seconds_load_s"].to_pylist()
    assert len(set(loads)) == 1
    assert 0.1 <= loads[0] < 1


def test_models_are_built_one_after_the_other_and_what_else_there_is_beside_them() -> None:
    BUILT.clear()
    worker(SlowToBuildConfig(number=1), SlowToBuildConfig(number=2), SlowLateConfig(number=3))
    (_, one_ended), (two_began, two_ended), (three_began, _) = (BUILT[number] for number in (1, 2, 3))
    assert one_ended <= two_began
    assert three_began < two_ended


def test_when_the_quota_grants_nothing_blocks_pass_by_undone() -> None:
    quota = LocalQuota(QuotaLimits(requests_per_minute=60.0, max_images=1))
    stage = Stage(
        name="s", operators=(StepConfig(number=1),), resources=Resources(num_actors=1), halted=Exhausted(quota)
    )
    made, gone = StageWorker(stage), Failure(error_class=ErrorClass.NOT_FOUND, message="gone")
    assert made(block(3))["step1"].null_count == 0
    quota.exchange(1, 0)
    out = made(fail_rows(block(3), {1: gone}, "source"))
    assert out["step1"].null_count == 3
    assert out["error_class"].to_pylist() == ["not_attempted", "not_found", "not_attempted"]
    quota.exchange(0, 1)
    assert made(block(3))["step1"].null_count == 0


def test_close_closes_every_operator() -> None:
    CLOSED.clear()
    worker(StepConfig(number=1), LateConfig(number=2)).close()
    assert sorted(CLOSED) == [1, 2]


class NotingConfig(StepConfig):
    """Notes the rows of each call."""

    name: ClassVar[str] = "noting"

    gains: bool = False

    def build(self) -> Operator[Any]:
        return Noting(self)


class Noting(Step):
    def __init__(self, config: StepConfig) -> None:
        super().__init__(config)
        self.calls: list[list[int]] = []

    def gains_by_many(self, batch: pa.Table) -> bool:
        return cast(NotingConfig, self.config).gains

    def transform(self, batch: pa.Table) -> pa.Table:
        self.calls.append(batch["row"].to_pylist())
        return super().transform(batch)


@pytest.mark.parametrize("reuse", [None, Reuse(first=1, decided_by=())])
@pytest.mark.parametrize("gains", [True, False])
def test_operators_that_work_on_parts_get_all_rows_in_their_order(reuse: Reuse | None, gains: bool) -> None:
    operators = (NotingConfig(number=1, gains=gains), NotingConfig(number=2, gains=True))
    stage = Stage(name="s", operators=operators, resources=Resources(num_actors=1), parts=BlockParts(first=1, rows=3))
    in_parts = StageWorker(replace(stage, reuse=reuse))
    rows = block(8).append_column("sha256", pa.array([f"{row:064x}" for row in range(8)]))
    done = in_parts(rows)
    first, second = (operator.calls for operator in in_parts.operators)  # type: ignore[attr-defined]
    assert second == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert first == ([list(range(8))] if gains else second)
    once = worker(*operators)(rows)
    assert done.select(once.column_names[:9]).equals(once.select(once.column_names[:9]))
    assert done["step2"].num_chunks == 1
    assert in_parts(rows.slice(0, 2))["step2"].to_pylist() == done["step2"].to_pylist()[:2]
    assert in_parts(rows.slice(0, 0)).num_rows == 0


class FetchingConfig(OperatorConfig):
    """Adds `image_bytes`, each row's in memory of its own, as what fetches does."""

    name: ClassVar[str] = "fetching"

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return schema.append(pa.field("image_bytes", pa.large_binary()))

    def build(self) -> Operator[Any]:
        return Fetching(self)


class Fetching(Operator[FetchingConfig]):
    def __init__(self, config: FetchingConfig) -> None:
        super().__init__(config)
        self.read: list[weakref.ref[Any]] = []

    def transform(self, batch: pa.Table) -> pa.Table:
        images = [np.zeros(1000, np.uint8) for _ in range(batch.num_rows)]
        self.read += [weakref.ref(image) for image in images]
        chunks = [binary_in_place([image.data]) for image in images]
        return batch.append_column("image_bytes", pa.chunked_array(chunks))


class DecodingConfig(FetchingConfig):
    """Drops `image_bytes`, and notes how many there are that somebody holds."""

    name: ClassVar[str] = "decoding"

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return schema.remove(schema.get_field_index("image_bytes"))

    def build(self) -> Operator[Any]:
        return Decoding(self)


class Decoding(Operator[FetchingConfig]):
    def __init__(self, config: FetchingConfig) -> None:
        super().__init__(config)
        self.held: list[int] = []
        self.fetching: Fetching | None = None

    def transform(self, batch: pa.Table) -> pa.Table:
        assert self.fetching
        self.held.append(sum(image() is not None for image in self.fetching.read))
        return batch.drop_columns(["image_bytes"])


def test_the_images_bytes_of_one_part_are_there_at_a_time() -> None:
    operators = (FetchingConfig(), DecodingConfig())
    stage = Stage(name="s", operators=operators, resources=Resources(num_actors=1), parts=BlockParts(first=1, rows=3))
    made = StageWorker(stage)
    fetching, decoding = made.operators
    decoding.fetching = fetching  # type: ignore[attr-defined]
    made(block(8))
    assert decoding.held == [3, 3, 2]  # type: ignore[attr-defined]
