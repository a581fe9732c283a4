"""What runs a pipeline: this process or Ray, with one quota over it where a model is asked over the network."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial

from operators.api.quota import LocalQuota, Quota, QuotaLimits, QuotaState
from operators.fetch import FetchConfig
from operators.fetching.options import Waits
from operators.models.warm import end_warm_process, sharing
from pipelines.commits.sink import Sink
from pipelines.run.cluster import ClusterConfig
from pipelines.run.epochs import Execute, Standing
from pipelines.run.local import InWork, run_local, sized_for_threads
from pipelines.run.on_ray.run import RayRun, run_ray
from pipelines.run.pipeline import Pipeline
from pipelines.run.quota import limits_of, ray_quota, with_quota
from pipelines.run.resources import LostNodes
from pipelines.run.stage import Stage

STOPPED = "stopped as asked"
"""Why a quota grants nothing more after a stop."""

OnRay = Callable[[Sequence[Stage]], AbstractContextManager[tuple[Stage, ...]]]
"""Connects to Ray while entered; gives the stages sized to it."""


@dataclass(frozen=True, kw_only=True)
class Executor:
    """What `run_epochs` needs from whatever runs the pipeline."""

    execute: Execute
    """Rows that are slow are left undone, for others not to wait for them."""
    last: Callable[[Waits], Execute]
    """What runs the rows that were left undone."""
    stop: threading.Event
    """Ends an execution at once."""
    halted: Callable[[], bool]
    """Tells whether the executor does no more, although rows are left."""
    standing: Callable[[], Standing]
    halt: Callable[[], None] | None = None
    """Asks an execution to end with what it has."""
    abort: Callable[[], None] | None = None
    """Ends an execution on Ray."""
    cut_short: Callable[[], str | None] = lambda: None
    """Why an execution should end for another one to go on."""


@contextmanager
def executor(
    pipeline: Pipeline,
    cluster: ClusterConfig,
    *,
    here: bool,
    block_rows: int,
    sink: Callable[[], Sink],
    on_ray: OnRay,
    stop: threading.Event,
    on_rows: Callable[[int], None],
    on_usage: Callable[[QuotaState], None],
    on_sized: Callable[[tuple[Stage, ...]], None] = lambda stages: None,
) -> Iterator[Executor]:
    """An executor, ready while entered: this process where `here`, else Ray. Each execution writes into the present
    `sink`, and calls `on_rows` with its rows. `on_sized` is called with the stages where a cluster that has lost nodes
    has made their pools others.

    Where a model is asked over the network, `on_usage` is called at the end, whatever ended it, with what was requested
    and spent.
    """
    if here:
        sized = replace(pipeline, stages=sized_for_threads(pipeline.stages, cluster.cores_here))
        in_work = InWork()
        with _metered(sized, _quota_here, stop, on_usage) as pipeline:
            here_as = partial(_execute_here, pipeline, cluster, block_rows, sink, on_rows, in_work)
            ready = _ready(here_as, stop, in_work.ending.set, in_work.standing)
            yield _until_the_quota_ends(pipeline, ready)
        return
    wanted = pipeline.stages
    with _models_for(cluster), on_ray(wanted) as stages:
        # Here and not at the top: it imports Ray.
        from pipelines.run.on_ray.watch import Halt, abort_execution, living_nodes, standing_on_ray

        halt, writers, wait_s = Halt.new(), cluster.num_writers, cluster.lost_node_wait_s
        lost = None if cluster.address is None else LostNodes(wanted, stages, num_writers=writers, wait_s=wait_s)

        def resized(pipeline: Pipeline) -> Pipeline:
            if lost is None or not lost.any:
                return pipeline
            halt.renew()
            lost.resize(living_nodes())
            on_sized(lost.sized)
            return _sized_as(pipeline, lost.sized)

        with _metered(halt.watched_by(replace(pipeline, stages=stages)), ray_quota, stop, on_usage) as pipeline:
            on_ray_as = partial(_execute_on_ray, pipeline, cluster, block_rows, sink, on_rows, resized, lost)
            ready = _ready(on_ray_as, stop, halt.ask, standing_on_ray)
            why = lost.why if lost is not None else ready.cut_short
            yield _until_the_quota_ends(pipeline, replace(ready, abort=abort_execution, cut_short=why))


def _models_for(cluster: ClusterConfig) -> AbstractContextManager[None]:
    """Workers of a Ray that is started here use the models that are loaded already; others load their own, and the
    memory of these is free for them."""
    if cluster.address is None and cluster.device == "cpu":
        return sharing()
    end_warm_process()
    return nullcontext()


def _execute_here(
    pipeline: Pipeline,
    cluster: ClusterConfig,
    block_rows: int,
    sink: Callable[[], Sink],
    on_rows: Callable[[int], None],
    in_work: InWork,
    waits: Waits,
) -> Execute:
    pipeline = _waiting(pipeline, waits)
    return lambda work: run_local(
        replace(pipeline, sink=sink()),
        work,
        cores=cluster.cores_here,
        block_rows=block_rows,
        rows_per_fragment=cluster.rows_per_fragment,
        fragment_interval_s=cluster.commit_interval_s,
        on_rows=on_rows,
        in_work=in_work,
    )


def _execute_on_ray(
    pipeline: Pipeline,
    cluster: ClusterConfig,
    block_rows: int,
    sink: Callable[[], Sink],
    on_rows: Callable[[int], None],
    resized: Callable[[Pipeline], Pipeline],
    lost: LostNodes | None,
    waits: Waits,
) -> Execute:
    pipeline = _waiting(pipeline, waits)
    run = RayRun(
        block_rows=block_rows,
        rows_per_fragment=cluster.rows_per_fragment,
        num_writers=cluster.num_writers,
    )
    return lambda work: run_ray(replace(resized(pipeline), sink=sink()), work, run, on_rows, lost)


def _sized_as(pipeline: Pipeline, sized: Sequence[Stage]) -> Pipeline:
    """The pipeline, its pools as large as those of `sized`."""
    resources = {stage.name: stage.resources for stage in sized}
    return replace(pipeline, stages=tuple(replace(s, resources=resources[s.name]) for s in pipeline.stages))


def _ready(
    execute: Callable[[Waits], Execute],
    stop: threading.Event,
    halt: Callable[[], None],
    standing: Callable[[], Standing],
) -> Executor:
    return Executor(
        execute=execute(Waits.ASIDE), last=execute, stop=stop, halted=lambda: False, halt=halt, standing=standing
    )


def _until_the_quota_ends(pipeline: Pipeline, ready: Executor) -> Executor:
    """Where there is a quota: a stop reaches an API model as its end, and what is paid for is then still written."""
    halted = pipeline.source.halted
    if halted is None or limits_of(pipeline.stages) is None:
        return ready
    return replace(ready, stop=threading.Event(), halted=halted, halt=None)


def _waiting(pipeline: Pipeline, waits: Waits) -> Pipeline:
    """The pipeline, its fetching so."""
    stages = [
        replace(
            stage,
            operators=tuple(
                o.model_copy(update={"waits": waits}) if isinstance(o, FetchConfig) else o for o in stage.operators
            ),
        )
        for stage in pipeline.stages
    ]
    return replace(pipeline, stages=tuple(stages))


@contextmanager
def _metered(
    pipeline: Pipeline,
    quota_of: Callable[[QuotaLimits], AbstractContextManager[Quota]],
    stop: threading.Event,
    on_usage: Callable[[QuotaState], None],
) -> Iterator[Pipeline]:
    """The pipeline with one quota for all workers, where a model is asked over the network."""
    limits = limits_of(pipeline.stages)
    if limits is None:
        yield pipeline
        return
    with quota_of(limits) as quota:
        over = threading.Event()
        watching = threading.Thread(target=_end_at_stop, args=(quota, stop, over), daemon=True)
        watching.start()
        try:
            yield with_quota(pipeline, quota)
        finally:
            over.set()
            watching.join()
            on_usage(_end(quota))


def _quota_here(limits: QuotaLimits) -> AbstractContextManager[Quota]:
    return nullcontext(LocalQuota(limits))


def _end_at_stop(quota: Quota, stop: threading.Event, over: threading.Event) -> None:
    while not over.wait(0.2):
        if stop.is_set():
            # A quota that cannot be reached has ended the run already.
            with suppress(OSError):
                quota.refuse(STOPPED)
            return


def _end(quota: Quota) -> QuotaState:
    """End the quota; gives its final state. After a failure blocks may still be under way: nothing more is paid for
    them."""
    refused = quota.state().refused
    quota.refuse("the run is over")
    return replace(quota.state(), refused=refused)
