"""The plan on Ray Data: one bounded execution over the given shards, receipts streamed back to the driver."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from operators.base.errors import UserError
from operators.base.process_settings import pass_over_what_is_here, take_long_turns
from pipelines.commits.receipts import Receipt
from pipelines.commits.sink import Sink
from pipelines.run.on_ray.errors import carried, carrying
from pipelines.run.on_ray.rests import RestWhenFull, RestWhenIdle
from pipelines.run.pipeline import Pipeline
from pipelines.run.resources import WRITE_CPUS, LostNodes
from pipelines.run.stage import Stage
from pipelines.run.worker import StageWorker
from pipelines.sources.source import Source
from pipelines.sources.work import ShardWork

READ_BATCH_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class RayRun:
    """How one execution is cut; no field changes a result."""

    block_rows: int
    rows_per_fragment: int
    num_writers: int


class RayStageWorker(StageWorker):
    """A stage on Ray. One that cannot be built for a reason that a user must mend says so at its first block.

    If the error were raised while the actor is built, Ray would build it `max_consecutive_actor_init_deaths` times
    more.
    """

    def __init__(self, stage: Stage) -> None:
        self.refused: UserError | None = None
        self.rest = RestWhenFull(stage.resources.concurrent_blocks)
        try:
            super().__init__(stage)
        except UserError as error:
            self.refused = error
        pass_over_what_is_here()

    def __call__(self, block: pa.Table) -> pa.Table:
        with carrying():
            if self.refused:
                raise self.refused
            if not self.on_gpu:
                take_long_turns()
            with self.rest.call():
                return super().__call__(block)


class WriteWorker:
    """The last operator of the plan: rows in, one receipt out, nothing committed."""

    def __init__(self, sink: Sink) -> None:
        # Lance's own pools default to every core; the writer must not take them from the model.
        os.environ.setdefault("LANCE_CPU_THREADS", "1")
        os.environ.setdefault("LANCE_IO_THREADS", "4")
        self.sink = sink
        self.rest = RestWhenIdle()

    def __call__(self, rows: pa.Table) -> pa.Table:
        try:
            with carrying():
                return self.sink.write(rows).to_table()
        finally:
            self.rest.called()


def run_ray(
    pipeline: Pipeline,
    work: Sequence[ShardWork],
    run: RayRun,
    on_rows: Callable[[int], None] = lambda rows: None,
    lost: LostNodes | None = None,
) -> Iterator[Receipt]:
    """Receipts as fragments are written. Ray must be initialised; `pipeline.stages` must be sized (`resources.fit`).
    Raises the `UserError` of a worker, with its message alone.

    `on_rows` is called from a thread of Ray's with all rows that have left the last stage so far; first with 0, when
    the first actor is ready and has been given its first block. `lost` is told how many actors wait for a place.
    """
    import ray
    import ray.data

    from pipelines.run.on_ray.watch import watch

    context = ray.data.DataContext.get_current()
    _configure(context)
    held = {actor_class_name(s): s.resources.num_actors * _blocks_held(s) for s in pipeline.stages}
    actors = min((s.resources.num_actors for s in pipeline.stages), default=1)
    context.custom_execution_callback_classes = [watch(held, actors, on_rows, lost)]
    dataset = _read(pipeline.source, work, run.block_rows)
    for stage in pipeline.stages:
        dataset = _add_stage(dataset, stage, run.block_rows)
    receipts = dataset.map_batches(
        WriteWorker,
        fn_constructor_args=(pipeline.sink,),
        batch_size=run.rows_per_fragment,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=run.num_writers),
        num_cpus=WRITE_CPUS,
    )
    try:
        # Not `iter_batches`: it would ask for the next one before it gives one, by threads that look a hundred times a
        # second whether it is there, 1 % of two cores.
        for bundle in receipts.iter_internal_ref_bundles():
            for block in bundle.blocks:
                yield from Receipt.from_table(ray.get(block.ref))
    except Exception as error:
        refused = carried(error)
        if refused is None:
            raise
        raise refused from error


def _configure(context: Any) -> None:
    """Set what the design rests on; each setting deviates from Ray's default on purpose."""
    # One task gives one block, so a lost block is recomputed into the same number of blocks.
    context.target_max_block_size = None
    context.execution_options.preserve_order = False
    # Anything else drops whole blocks without a word.
    context.max_errored_blocks = 0
    # The run watches itself (`run_epochs`), also where Ray's own loop hangs, and does not try a stuck epoch again.
    context.execution_no_progress_timeout_s = -1
    context.actor_init_retry_on_errors = False
    context.max_consecutive_actor_init_deaths = 8
    # Nobody reads what these find: a thread for each task that looks at its memory, and a detector of high memory.
    context.memory_usage_poll_interval_s = None
    context.issue_detectors_config.detectors = []


def _blocks_held(stage: Stage) -> int:
    """Blocks that one actor holds: one waits behind those in work. More would go to whoever is ready first, and leave
    nothing for the others."""
    return stage.resources.concurrent_blocks + 1


def _add_stage(dataset: Any, stage: Stage, block_rows: int) -> Any:
    import ray.data

    wanted = stage.resources
    # The class carries the stage's name, so that Ray's plans, logs and dashboard show it.
    named = type(actor_class_name(stage), (RayStageWorker,), {})
    # The empty selector keeps Ray Data from joining the stage with the reading before it, which asks for as much: one
    # actor would then read and embed all.
    options: dict[str, Any] = {"num_cpus": wanted.num_cpus, "label_selector": {}}
    if wanted.num_gpus:
        options["num_gpus"] = wanted.num_gpus
    if wanted.memory_bytes:
        options["memory"] = wanted.memory_bytes
    if wanted.custom:
        options["resources"] = dict(wanted.custom)
    return dataset.map_batches(
        named,
        fn_constructor_args=(stage,),
        # Ray wants a number where GPUs are asked for; a block's own size keeps one call to a block.
        batch_size=block_rows if wanted.num_gpus else None,
        batch_format="pyarrow",
        udf_modifying_row_count=False,
        compute=ray.data.ActorPoolStrategy(
            size=wanted.num_actors,
            max_concurrent_calls_per_actor=wanted.concurrent_blocks,
            max_tasks_in_flight_per_actor=_blocks_held(stage),
            enable_true_multi_threading=wanted.concurrent_blocks > 1,
        ),
        **options,
    )


def actor_class_name(stage: Stage) -> str:
    return stage.name.title().replace("_", "")


def _read(source: Source, work: Sequence[ShardWork], block_rows: int) -> Any:
    """The rows in blocks of `block_rows`; only the last block of a read task may be smaller."""
    import ray.data

    groups = source.read_tasks(work)
    dataset = ray.data.read_datasource(_datasource(source, groups), override_num_blocks=len(groups))
    # Not strict: one task cuts what one read gave. Strict, every block is a task of its own. And after a step of a
    # user's, since Ray Data (2.60) joins that with what reads before it and what cuts behind it into one task, but
    # reading and cutting alone into two, with all that was read in the object store between them.
    dataset = dataset.map_batches(lambda rows: rows, batch_size=None, batch_format="pyarrow")
    return dataset.repartition(target_num_rows_per_block=block_rows, strict=False)


def _datasource(source: Source, groups: Sequence[Sequence[ShardWork]]) -> Any:
    """One read task for each group of shards. Defined here so that only this module needs Ray."""
    import ray
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    # Up to 16 bytes for each row of the table: put once and mapped by each task, not pickled into every one.
    ids = ray.put((source.skip_ids, source.taken_down)) if source.skip_ids or source.taken_down else None
    lean = replace(source, skip_ids=None, taken_down=None)

    class ShardReads(Datasource):  # type: ignore[misc]
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism: int, per_task_row_limit: int | None = None, **_: Any) -> list[ReadTask]:
            return [ReadTask(_reader(lean, ids, group), _metadata(group)) for group in groups]

    def _metadata(group: Sequence[ShardWork]) -> BlockMetadata:
        rows = sum(item.num_wanted for item in group)
        return BlockMetadata(num_rows=rows, size_bytes=None, input_files=None, exec_stats=None)

    return ShardReads()


def _reader(source: Source, ids: Any, group: Sequence[ShardWork]) -> Any:
    def read() -> Iterable[pa.Table]:
        import ray

        skip_ids, taken_down = (None, None) if ids is None else ray.get(ids)
        whole = replace(source, skip_ids=skip_ids, taken_down=taken_down)
        with carrying():
            for item in group:
                yield from whole.read(item, READ_BATCH_ROWS)

    return read
