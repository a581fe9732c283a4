"""One stage at work: its operators in order, and the seconds of each told row by row."""

import time
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from operators.base import Operator, OperatorConfig
from operators.columns import ERROR_FIELDS
from pipelines.run_stage import StageWorker, add_seconds
from pipelines.stage import Resources, Stage

CLOSED: list[int] = []


class StepConfig(OperatorConfig):
    """Adds a column `step<N>` that counts the columns before it, after `sleep_s`."""

    name: ClassVar[str] = "step"
    reads: ClassVar[frozenset[str]] = frozenset()

    number: int
    sleep_s: float = 0.0

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return schema.append(pa.field(f"step{self.number}", pa.int64()))

    def build(self) -> Operator[Any]:
        return Step(self)


class LateConfig(StepConfig):
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


def test_close_closes_every_operator() -> None:
    CLOSED.clear()
    worker(StepConfig(number=1), LateConfig(number=2)).close()
    assert sorted(CLOSED) == [1, 2]
