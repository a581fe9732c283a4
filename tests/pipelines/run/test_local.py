"""The local executor: receipts of the promised size and order, progress told, operators closed."""

import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import lance
import numpy as np
import pyarrow as pa
import pytest
from lance.fragment import FragmentMetadata
from PIL import Image

from made.manifests import manifest_of
from operators.base.operator import Operator, OperatorConfig
from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from operators.models.load import describe
from operators.models.spec import parse_model_name
from operators.normalize import NormalizeOptions
from operators.storage.stores import NO_OPTIONS
from pipelines.commits.committer import Committer
from pipelines.commits.receipts import Receipt
from pipelines.embedding.chain import operator_chain
from pipelines.embedding.columns import Options, VectorColumn
from pipelines.embedding.image_embedding import OPERATORS, arrange, image_embedding
from pipelines.manifests.manifest import SourceConfig
from pipelines.run.cluster import ClusterConfig, StageConfig
from pipelines.run.local import run_local
from pipelines.run.pipeline import Pipeline
from pipelines.sources.work import ShardWork, shard_work
from pipelines.table.names import TableNames

ROWS, BAD = 23, (4, 11)
CLUSTER = ClusterConfig(stages=(StageConfig(name="all", operators=OPERATORS),), executor="local")


@pytest.fixture
def planned(tmp_path: Path) -> tuple[Pipeline, list[ShardWork]]:
    """23 images of one colour each in shards of ten rows; two are broken."""
    folder = tmp_path / "images"
    folder.mkdir()
    for n in range(ROWS):
        path = folder / f"{n:02}.png"
        Image.new("RGB", (30, 20), (10 * n, 255 - 10 * n, 7)).save(path)
        if n in BAD:
            path.write_bytes(b"broken")
    manifest = manifest_of(SourceConfig(uri=str(folder), rows_per_shard=10), NO_OPTIONS, str(tmp_path / "work"))
    options = Options(
        fetch=FetchOptions(allowed_roots=manifest.allowed_roots),
        decode=DecodeOptions(isolate=False),
        normalize=NormalizeOptions(l2=False, dtype="float32"),
    )
    columns = [VectorColumn(name="vector", model=describe(parse_model_name("null")), precision="float32")]
    chain = operator_chain(columns, options, CLUSTER)
    pipeline, _ = image_embedding(
        manifest=manifest,
        columns=columns,
        stages=arrange(chain, CLUSTER.stages),
        names=TableNames.from_table(str(tmp_path / "lake" / "t")),
        images=NO_OPTIONS,
        table=NO_OPTIONS,
    )
    Committer.open(pipeline.sink.names, pipeline.sink.vectors_schema, run_id="makes both tables")
    work = [shard_work(s, s.number, np.ones(s.num_rows, bool)) for s in manifest.shards]
    return pipeline, [w for w in work if w]


def positions(receipt: Receipt) -> list[int]:
    """Ordinals of a receipt's rows in the manifest."""
    keys = np.sort(np.concatenate([receipt.vector_keys, receipt.failure_keys]))
    return [int(key >> 32) * 10 + int(key & 0xFFFFFFFF) for key in keys]


def test_every_row_once_in_order_with_counts_and_seconds(planned: tuple[Pipeline, list[ShardWork]]) -> None:
    pipeline, work = planned
    committer = Committer.open(pipeline.sink.names, pipeline.sink.vectors_schema, run_id="r")
    committer.load_ledger(0, len(work))
    told: list[int] = []
    receipts = list(
        run_local(
            pipeline, work, cores=2, block_rows=4, rows_per_fragment=8, fragment_interval_s=1000, on_rows=told.append
        )
    )
    assert [n for receipt in receipts for n in positions(receipt)] == list(range(ROWS))
    assert all(8 <= len(positions(receipt)) < 8 + 4 for receipt in receipts[:-1])
    assert told[0] == 0
    assert told == sorted(told)
    assert told[-1] == ROWS
    assert sum(r.failure_counts.get("unsupported_format", 0) for r in receipts) == len(BAD)
    assert sum(r.requests for r in receipts) == ROWS
    assert all({*OPERATORS, "write"} <= set(r.seconds) for r in receipts)
    assert committer.commit(receipts).vectors == ROWS - len(BAD)
    rows = lance.dataset(pipeline.sink.names.vectors).to_table().sort_by([("shard", "ascending"), ("row", "ascending")])
    ordinals = [10 * s + r for s, r in zip(rows["shard"].to_pylist(), rows["row"].to_pylist(), strict=True)]
    assert ordinals == [n for n in range(ROWS) if n not in BAD]
    expected = np.array([[10 * n, 255 - 10 * n, 7] * 64 for n in ordinals]) / 255
    assert np.allclose(np.array(rows["vector"].to_pylist()), expected, atol=0.01)


def test_only_wanted_rows_are_read(planned: tuple[Pipeline, list[ShardWork]]) -> None:
    pipeline, work = planned
    mask = np.zeros(10, bool)
    mask[[2, 7]] = True
    item = shard_work(work[1].shard, 1, mask)
    assert item is not None
    [receipt] = run_local(pipeline, [item], cores=2, block_rows=4, rows_per_fragment=8, fragment_interval_s=1000)
    assert positions(receipt) == [12, 17]


def test_a_fragment_ends_after_its_interval_however_few_rows_it_has(planned: tuple[Pipeline, list[ShardWork]]) -> None:
    pipeline, work = planned
    receipts = list(run_local(pipeline, work, cores=2, block_rows=4, rows_per_fragment=1000, fragment_interval_s=1e-6))
    assert [len(positions(receipt)) for receipt in receipts] == [4, 4, 2, 4, 4, 2, 3]
    assert (
        len(list(run_local(pipeline, work, cores=2, block_rows=4, rows_per_fragment=1000, fragment_interval_s=1000)))
        == 1
    )


def test_fragments_hold_what_the_receipt_says(planned: tuple[Pipeline, list[ShardWork]]) -> None:
    pipeline, work = planned
    for receipt in run_local(pipeline, work, cores=2, block_rows=8, rows_per_fragment=8, fragment_interval_s=1000):
        fragments = [FragmentMetadata.from_json(json.dumps(f)) for f in json.loads(receipt.vector_fragments)]
        assert sum(f.num_rows for f in fragments) == len(receipt.vector_keys)


def test_a_run_left_in_the_middle_closes_its_operators(planned: tuple[Pipeline, list[ShardWork]]) -> None:
    """Fetch holds threads: none is left."""
    pipeline, work = planned
    before = set(threading.enumerate())
    receipts = run_local(pipeline, work, cores=2, block_rows=4, rows_per_fragment=4, fragment_interval_s=1000)
    next(receipts)
    assert any(t.name.startswith("fetch") for t in set(threading.enumerate()) - before)
    receipts.close()  # type: ignore[attr-defined]
    assert not [t for t in set(threading.enumerate()) - before if t.name == "fetch" and t.is_alive()]


class GateConfig(OperatorConfig):
    """Passes blocks through `GATE`, at the end of the stages."""

    name: ClassVar[str] = "gate"

    @property
    def reads(self) -> frozenset[str]:
        return frozenset()

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return schema

    def build(self) -> "Gate":
        return Gate(self)


class Gate(Operator[GateConfig]):
    def transform(self, batch: pa.Table) -> pa.Table:
        GATE(batch)
        return batch


GATE: Callable[[pa.Table], None] = len


def gated(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, gate: Callable[[pa.Table], None]) -> Pipeline:
    monkeypatch.setattr(sys.modules[__name__], "GATE", gate)
    [stage] = pipeline.stages
    return replace(pipeline, stages=(replace(stage, operators=(*stage.operators, GateConfig())),))


def test_several_blocks_are_in_work_at_a_time(
    planned: tuple[Pipeline, list[ShardWork]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, work = planned
    together = threading.Barrier(5, timeout=60)
    first = threading.Semaphore(5)

    def meet(block: pa.Table) -> None:
        if first.acquire(blocking=False):
            together.wait()

    pipeline = gated(pipeline, monkeypatch, meet)
    receipts = run_local(pipeline, work, cores=2, block_rows=4, rows_per_fragment=8, fragment_interval_s=1000)
    assert [n for receipt in receipts for n in positions(receipt)] == list(range(ROWS))


def test_the_threads_of_blocks_take_long_turns_and_no_other_does(
    planned: tuple[Pipeline, list[ShardWork]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, work = planned
    turns: set[int] = set()
    pipeline = gated(pipeline, monkeypatch, lambda block: turns.add(os.sched_getscheduler(0)))
    list(run_local(pipeline, work, cores=2, block_rows=4, rows_per_fragment=8, fragment_interval_s=1000))
    assert turns == {os.SCHED_BATCH}
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_what_is_done_is_written_while_a_slow_block_behind_it_is_waited_for(
    planned: tuple[Pipeline, list[ShardWork]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, work = planned
    release = threading.Event()

    def hold(block: pa.Table) -> None:
        if (block["shard"][0].as_py(), block["row"][0].as_py()) == (1, 0):
            assert release.wait(60)

    pipeline = gated(pipeline, monkeypatch, hold)
    receipts = run_local(pipeline, work, cores=2, block_rows=4, rows_per_fragment=1000, fragment_interval_s=0.5)
    first = positions(next(receipts))
    assert first == list(range(len(first)))
    while len(first) < 10:
        first += positions(next(receipts))
    assert first == list(range(10)), "all of the first shard, and nothing behind the block that is held"
    release.set()
    assert [n for receipt in receipts for n in positions(receipt)] == list(range(10, ROWS))
