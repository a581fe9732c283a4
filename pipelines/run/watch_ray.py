"""A Ray Data execution under way: reports the rows that have left a stage, and can end the execution early."""

from collections.abc import Callable
from typing import Any, ClassVar

from ray.data._internal.execution.execution_callback import ExecutionCallback


class StageRows(ExecutionCallback):  # type: ignore[misc]
    """Counts the rows of a stage. Ray Data makes its own instances and pickles the class with its context, so its state
    lies in the class.

    One execution at a time: the driver runs epochs one after the other.
    """

    first: ClassVar[str] = ""
    last: ClassVar[str] = ""
    tell: ClassVar[Callable[[int], None]] = staticmethod(lambda rows: None)
    executor: ClassVar[Any] = None

    def before_execution_starts(self, executor: Any) -> None:
        StageRows.executor = executor

    def on_execution_step(self, executor: Any) -> None:
        metrics = {name: o.metrics for o in executor._topology for name in _stages_of(o.name)}
        # An actor that is still loading its model is given nothing: the first task submitted ends the start-up.
        if metrics[StageRows.first].num_tasks_submitted:
            StageRows.tell(metrics[StageRows.last].row_outputs_taken)


def _stages_of(operator: str) -> list[str]:
    return [name for name in {StageRows.first, StageRows.last} if f"({name})" in operator]


def watch(first: str, last: str, tell: Callable[[int], None]) -> type[StageRows]:
    """The callback class, set to watch these two stages, by their actors' class names (one stage: twice the same).

    Once `first` has been given its first block, `tell` is called from Ray's own thread with the rows that `last` has
    put out so far.
    """
    StageRows.first, StageRows.last, StageRows.tell = first, last, staticmethod(tell)
    return StageRows


def abort_execution() -> None:
    """End the running execution with its threads; does nothing where there is none, or where it has not begun yet.

    A thread of it that touches Ray after `ray.shutdown` would end the whole process at once, with exit code 1 and no
    message.
    """
    if StageRows.executor is not None:
        StageRows.executor.shutdown(force=True)
