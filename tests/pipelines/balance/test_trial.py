"""A trial keeps what a run takes once apart from what each row takes, and counts every row that it tried."""

import time
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from made.manifests import manifest_of
from operators.base.operator import Operator, OperatorConfig
from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from operators.models.load import describe
from operators.models.spec import parse_model_name
from operators.normalize import NormalizeOptions
from operators.storage.stores import NO_OPTIONS
from pipelines.balance.trial import ROUNDS, TrialRun, rows_to_try, try_out, warm_rows
from pipelines.embedding.chain import operator_chain
from pipelines.embedding.columns import Options, VectorColumn
from pipelines.embedding.image_embedding import OPERATORS, arrange, image_embedding
from pipelines.manifests.manifest import SourceConfig
from pipelines.run.cluster import ClusterConfig, StageConfig
from pipelines.run.local import blocks_in_work
from pipelines.sources.drawn import work_at
from pipelines.table.names import TableNames

ROWS, BAD, WARM = 100, 7, 20
FIRST_CALL_S = 0.8
CLUSTER = ClusterConfig(stages=(StageConfig(name="all", operators=OPERATORS),), executor="local")


class WarmsUpConfig(OperatorConfig):
    """Leaves rows as they are. Its first call takes long."""

    name: ClassVar[str] = "warms_up"

    @property
    def reads(self) -> frozenset[str]:
        return frozenset()

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return schema

    def build(self) -> "WarmsUp":
        return WarmsUp(self)


class WarmsUp(Operator[WarmsUpConfig]):
    warm = False

    def transform(self, batch: pa.Table) -> pa.Table:
        started, self.warm, cold = time.thread_time(), True, not self.warm
        while cold and time.thread_time() - started < FIRST_CALL_S:
            pass
        return batch


@pytest.fixture(scope="module")
def told() -> list[int]:
    return []


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory, told: list[int]) -> TrialRun:
    folder = tmp_path_factory.mktemp("tried")
    (folder / "images").mkdir()
    for n in range(ROWS):
        Image.new("RGB", (8, 8), (n, 255 - n, 7)).save(folder / "images" / f"{n:03}.png")
    (folder / "images" / f"{BAD:03}.png").write_bytes(b"broken")
    manifest = manifest_of(SourceConfig(uri=str(folder / "images")), NO_OPTIONS, str(folder / "work"))
    options = Options(
        fetch=FetchOptions(allowed_roots=manifest.allowed_roots),
        decode=DecodeOptions(isolate=False),
        normalize=NormalizeOptions(),
    )
    columns = [VectorColumn(name="vector", model=describe(parse_model_name("null")), precision="float32")]
    pipeline, _ = image_embedding(
        manifest=manifest,
        columns=columns,
        stages=arrange(operator_chain(columns, options, CLUSTER), CLUSTER.stages),
        names=TableNames.from_table(str(folder / "lake" / "never")),
        images=NO_OPTIONS,
        table=NO_OPTIONS,
    )
    [stage] = pipeline.stages
    slow = replace(stage, operators=(*stage.operators, WarmsUpConfig()))
    positions = np.arange(ROWS)
    first, work = (list(work_at(manifest.shards, some)) for some in (positions[:WARM], positions[WARM:]))
    made = try_out(
        replace(pipeline, stages=(slow,)),
        first,
        work,
        cores=2,
        block_rows=64,
        table=str(folder / "lake" / "trial"),
        counted=told.append,
    )
    assert not (folder / "lake" / "never.lance").exists()
    return made


def test_what_is_started_when_it_is_first_needed_is_not_what_rows_take(trial: TrialRun) -> None:
    before, taken = trial.before.core_s, trial.taken.core_s
    assert before is not None
    assert taken is not None
    assert before > FIRST_CALL_S > taken + 0.2


def test_rows_that_warm_up_are_counted_as_what_they_are(trial: TrialRun, told: list[int]) -> None:
    assert trial.first is not None
    assert (trial.first.rows, trial.first.failed) == (WARM, 1)
    assert sum(part.rows for part in trial.parts) == ROWS - WARM
    assert sum(part.failed for part in trial.parts) == 0
    assert trial.first.requests + sum(part.requests for part in trial.parts) == ROWS
    assert told == sorted(told)
    assert told[-1] == ROWS


def test_blocks_are_small_enough_to_fill_all_places_and_the_end_is_told_apart(trial: TrialRun, told: list[int]) -> None:
    measured = [rows - WARM for rows in told if rows > WARM]
    assert len(measured) == (ROUNDS - 1) * blocks_in_work(2)
    assert 0 < trial.full.seconds <= trial.taken.seconds


def test_what_a_fragment_takes_by_itself_is_not_what_rows_take(trial: TrialRun) -> None:
    # An empty file of Lance has some kilobytes of it.
    assert trial.fragment_bytes > 500
    by_row = sum(part.written_bytes for part in trial.parts) / sum(part.rows for part in trial.parts)
    # 192 numbers of float16, and what is said of an image.
    assert 2 * 192 < by_row < 2 * 192 + 250


@pytest.mark.parametrize(
    ("cores", "core_s", "block_rows", "rows"),
    [
        (2, 0.007, 112, 2400),
        # Of a heavy model as many as take half a minute.
        (2, 0.1, 112, 600),
        # But blocks of four rows, and all places filled five times.
        (2, 10.0, 112, 100),
        (64, 0.007, 112, 15 * 129 * 32),
        (2, 0.0, 16, 1200),
    ],
)
def test_a_trial_is_as_large_as_keeps_all_cores_busy(cores: int, core_s: float, block_rows: int, rows: int) -> None:
    assert rows_to_try(cores, core_s, block_rows) == rows
    assert warm_rows(rows) == rows // 5
