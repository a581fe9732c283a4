"""Rows that have left a stage, told while a Ray Data execution goes on."""

from collections.abc import Callable
from typing import Any, ClassVar

from ray.data._internal.execution.execution_callback import ExecutionCallback


class StageRows(ExecutionCallback):  # type: ignore[misc]
    """Ray Data makes its own instances and pickles the class with its context, so what it needs lies in the class.

    One execution at a time: the driver runs epochs one after the other.
    """

    stage: ClassVar[str] = ""
    tell: ClassVar[Callable[[int], None]] = staticmethod(lambda rows: None)

    def on_execution_step(self, executor: Any) -> None:
        for operator in executor._topology:
            if f"({StageRows.stage})" in operator.name:
                StageRows.tell(operator.metrics.row_outputs_taken)


def watch(stage: str, tell: Callable[[int], None]) -> type[StageRows]:
    """The callback class, set to report `stage`: `tell` gets the rows it has put out so far, from Ray's own thread."""
    StageRows.stage, StageRows.tell = stage, staticmethod(tell)
    return StageRows
