"""What ends a run, by its executor: a stop at once, or through the quota where a model is asked over the network."""

import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

import pytest

from operators.api.options import ApiOptions
from operators.api.quota import QuotaState
from operators.base.operator import OperatorConfig
from operators.embed_api import api_embed_config
from operators.fetch import FetchConfig
from operators.models.load import describe
from operators.models.spec import parse_model_name
from operators.storage.stores import NO_OPTIONS
from pipelines.commits.sink import Sink
from pipelines.manifests.manifest import Columns
from pipelines.run.cluster import ClusterConfig, StageConfig
from pipelines.run.execute import STOPPED, Executor, executor
from pipelines.run.pipeline import Pipeline
from pipelines.run.stage import Resources, Stage
from pipelines.sources.source import Source
from pipelines.table.names import TableNames

ASKED = api_embed_config(
    describe(parse_model_name("vertex:multimodalembedding@001/128")),
    ApiOptions(project="p", endpoint="http://127.0.0.1:1", max_spend_usd=1.0),
)


def on_no_ray(stages: Sequence[Stage]) -> AbstractContextManager[tuple[Stage, ...]]:
    raise AssertionError("a run in this process starts no Ray")


class Here:
    """An executor in this process, with what it is told and tells."""

    def __init__(self, operator: OperatorConfig) -> None:
        self.stop = threading.Event()
        self.used: list[QuotaState] = []
        sink = Sink(names=TableNames.from_table("lake/t"), vectors_schema=Source(columns=Columns()).schema())
        stage = Stage(name="one", operators=(operator,), resources=Resources(num_actors=1))
        self.pipeline = Pipeline(source=Source(columns=Columns(), storage=NO_OPTIONS), stages=(stage,), sink=sink)

    def ready(self) -> AbstractContextManager[Executor]:
        return executor(
            self.pipeline,
            ClusterConfig(executor="local", stages=(StageConfig(name="one", operators=("fetch",)),)),
            here=True,
            block_rows=8,
            sink=lambda: self.pipeline.sink,
            on_ray=on_no_ray,
            stop=self.stop,
            on_rows=lambda rows: None,
            on_usage=self.used.append,
        )


def test_a_stop_ends_what_nobody_is_paid_for_at_once() -> None:
    here = Here(FetchConfig())
    with here.ready() as ready:
        here.stop.set()
        assert ready.stop is here.stop
        assert not ready.halted()
    assert here.used == []


def test_a_stop_ends_the_quota_and_leaves_what_is_under_way_to_be_written() -> None:
    here = Here(ASKED)
    with here.ready() as ready:
        assert not ready.halted()
        here.stop.set()
        deadline = time.monotonic() + 10
        while not ready.halted() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert ready.halted()
        assert not ready.stop.is_set()
    assert [usage.refused for usage in here.used] == [STOPPED]


def test_what_was_spent_is_told_however_the_run_ended_and_nothing_is_spent_after_it() -> None:
    here = Here(ASKED)
    with pytest.raises(OSError, match="storage"), here.ready() as ready:
        raise OSError("storage is gone")
    assert [(usage.refused, usage.billed) for usage in here.used] == [(None, 0)]
    assert ready.halted()
