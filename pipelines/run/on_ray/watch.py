"""A Ray Data execution under way: the rows that have left a stage, where it stands, how many actors wait for a place,
and how it is ended early. Its loop rests where nothing can be given to anybody."""

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from ray.data._internal.execution.execution_callback import ExecutionCallback

from pipelines.run.epochs import Standing
from pipelines.run.pipeline import Pipeline
from pipelines.run.resources import LostNodes, Node

_ASK_AGAIN_S = 0.5
_ANSWER_S = 3.0
_OUTPUT_S = 1.0
REST_S = 1.0
"""The longest rest. Ray Data (2.60) looks ten times a second what is done, however long a block takes, at 7 ms of CPU a
look: with rests of a quarter of a second the driver took 46 ms a second at 1.5 blocks a second."""
SETTLED_BLOCKS = 4
"""Blocks after which it is known how fast they come: the first ones wait for whatever loads late."""


def rest_s(full: bool, blocks: int, seconds: float, actors: int, came: int) -> float:
    """How long nobody has to look. `full`: each actor has as many blocks as it may hold; `blocks` have come out of the
    last stage in `seconds`, `came` of them since the last look; `actors` are those of the smallest pool.

    Half the time in which an actor does a block: whoever finishes one meanwhile has another. No rest where more came
    than one an actor: they are quicker now, as when a stopped run passes its blocks on.
    """
    if not full or blocks < SETTLED_BLOCKS or came > actors:
        return 0.0
    return min(REST_S, actors * seconds / blocks / 2)


class StageRows(ExecutionCallback):  # type: ignore[misc]
    """Counts the rows of a stage. Ray Data makes its own instances and pickles the class with its context, so its state
    lies in the class.

    One execution at a time: the driver runs epochs one after the other.
    """

    first: ClassVar[str] = ""
    last: ClassVar[str] = ""
    held: ClassVar[dict[str, int]] = {}
    """Stage -> the blocks that its actors may hold together."""
    actors: ClassVar[int] = 1
    """Of the smallest pool."""
    tell: ClassVar[Callable[[int], None]] = staticmethod(lambda rows: None)
    lost: ClassVar[LostNodes | None] = None
    """Is told how many actors wait."""
    came: ClassVar[int] = 0
    """Blocks that had come out of the last stage at the last look."""
    began: ClassVar[float | None] = None
    """When the first block was given to an actor."""
    executor: ClassVar[Any] = None
    looked: ClassVar[threading.Event] = threading.Event()
    """Set at each step: the last operator may have something to give."""
    stands: ClassVar[tuple[tuple[str, int, int, int, int], ...]] = ()
    """For each operator that is not done: name, tasks at work, blocks that wait for it and behind it, blocks given."""

    def before_execution_starts(self, executor: Any) -> None:
        StageRows.executor, StageRows.stands, StageRows.came, StageRows.began = executor, (), 0, None
        _, output = executor._output_node
        output.get_output_blocking = partial(_when_there, output, output.get_output_blocking)
        output.mark_finished = partial(_then, StageRows.looked.set, output.mark_finished)

    def on_execution_step(self, executor: Any) -> None:
        StageRows.looked.set()
        stages = {name: o for o in executor._topology for name in _stages_of(o.name)}
        last = stages[StageRows.last].metrics
        # An actor that is still loading its model is given nothing: the first task submitted ends the start-up.
        if stages[StageRows.first].metrics.num_tasks_submitted:
            StageRows.began = StageRows.began or time.monotonic()
            StageRows.tell(last.row_outputs_taken)
        StageRows.stands = tuple(
            (
                o.name,
                o.num_active_tasks(),
                state.total_enqueued_input_blocks(),
                state.total_enqueued_output_blocks(),
                o.metrics.num_outputs_taken,
            )
            for o, state in executor._topology.items()
            if not o.has_completed()
        )
        for o in executor._topology:
            _forget_blocks(o)
        if StageRows.lost is not None:
            StageRows.lost.look(time.monotonic(), _actors_that_wait(executor), living_nodes)
        if StageRows.began is not None:
            full = all(stages[name].num_active_tasks() >= held for name, held in StageRows.held.items())
            seconds = time.monotonic() - StageRows.began
            blocks = last.num_outputs_taken
            came, StageRows.came = blocks - StageRows.came, blocks
            time.sleep(rest_s(full, blocks, seconds, StageRows.actors, came))


def _forget_blocks(operator: Any) -> None:
    """Drop an operator's records of the blocks that it has given.

    Ray Data (2.60) would keep them to the end of the execution, 1 KB a block for each operator, and every five seconds
    send all of them so far to another process, for statistics that nobody asks for here.
    """
    getattr(operator, "_output_blocks_stats", []).clear()


def _actors_that_wait(executor: Any) -> int:
    """Actors that have no place yet, or not again, and those that load in theirs."""
    return sum(info.pending + info.restarting for info in (o.get_actor_info() for o in executor._topology))


def living_nodes() -> Sequence[Node]:
    """The nodes that are alive by the table of Ray's GCS, which misses a lost one after some 15 s."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _stages_of(operator: str) -> list[str]:
    return [name for name in StageRows.held if f"({name})" in operator]


def watch(
    held: Mapping[str, int], actors: int, tell: Callable[[int], None], lost: LostNodes | None = None
) -> type[StageRows]:
    """The callback class, set to watch these stages: their actors' class names in order, with the blocks that all
    actors of each may hold together, and the `actors` of the smallest pool.

    Once the first stage has been given its first block, `tell` is called from Ray's own thread with the rows that the
    last one has put out so far. `lost` is told from there how many actors wait.
    """
    StageRows.held, StageRows.actors, StageRows.tell, StageRows.lost = dict(held), actors, staticmethod(tell), lost
    StageRows.first, *_, StageRows.last = (*held, *held)
    return StageRows


def _when_there(output: Any, get: Callable[[Any], Any], split: Any) -> Any:
    """What `get` gives of an operator's output, asked for once it has something to give, or is over.

    Ray Data (2.60) would look a hundred times a second, which takes 10 ms of CPU: a receipt comes every second or
    minute. Here it is looked after each step.
    """
    # As Ray Data counts those who wait: where memory is short, it lets a block pass for them alone.
    with output._waiting_consumers_lock:
        output._num_waiting_consumers += 1
    try:
        while not (output._finished or output._exception or output.output_queue.has_next(split)):
            StageRows.looked.wait(_OUTPUT_S)
            StageRows.looked.clear()
    finally:
        with output._waiting_consumers_lock:
            output._num_waiting_consumers -= 1
    return get(split)


def _then(also: Callable[[], None], first: Callable[..., None], *given: Any, **named: Any) -> None:
    first(*given, **named)
    also()


def abort_execution() -> None:
    """End the running execution with its threads; does nothing where there is none, or where it has not begun yet.

    A thread of it that touches Ray after `ray.shutdown` would end the whole process at once, with exit code 1 and no
    message.
    """
    if StageRows.executor is not None:
        StageRows.executor.shutdown(force=True)


def standing_on_ray() -> Standing:
    """Where the execution stood at its latest step."""
    at_work = [
        f"{name} has {tasks} blocks at work and {waiting} that wait"
        for name, tasks, waiting, _, _ in StageRows.stands
        if tasks or waiting
    ]
    return Standing(StageRows.stands, "; ".join(at_work) or "no block has reached a worker, as while they start")


class Halt:
    """Asks every worker of a run to pass its blocks on unprocessed, so that all that is embedded reaches the writers
    and the execution ends by itself. A key in the cluster's own store; pickles as the key alone."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._asked = False
        self._looked = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {"_key": self._key, "_asked": False, "_looked": 0.0}

    @classmethod
    def new(cls) -> "Halt":
        halt = cls("")
        halt.renew()
        return halt

    def watched_by(self, pipeline: Pipeline) -> Pipeline:
        """The pipeline whose source and stages look at it before each block."""
        stages = tuple(replace(stage, halted=self) for stage in pipeline.stages)
        return replace(pipeline, source=replace(pipeline.source, halted=self), stages=stages)

    def renew(self) -> None:
        """Forget that it was asked for, for workers that start from now on."""
        self._key = f"pixlake-halt-{secrets.token_hex(8)}"

    def ask(self) -> None:
        # Without a head nobody answers, and the execution ends anyway.
        asking = threading.Thread(target=self._put, daemon=True)
        asking.start()
        asking.join(_ANSWER_S)

    def _put(self) -> None:
        from ray.experimental.internal_kv import _internal_kv_put

        with suppress(Exception):
            _internal_kv_put(self._key, b"1")

    def __call__(self) -> bool:
        """Whether it was asked for, as of half a second ago."""
        from ray.experimental.internal_kv import _internal_kv_exists

        now = time.monotonic()
        if not self._asked and now - self._looked >= _ASK_AGAIN_S:
            self._looked = now
            with suppress(Exception):
                self._asked = bool(_internal_kv_exists(self._key))
        return self._asked
