"""Which operators run in which actor pool, as plain data, and the columns that come out. No Ray here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from operators.base.errors import PlanError
from operators.base.operator import OperatorConfig


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one actor pool asks of the cluster, in Ray's own terms."""

    num_actors: int
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    memory_bytes: int | None = None
    custom: Mapping[str, float] = field(default_factory=dict)
    """Of Ray's custom resources, which say on which kind of node an actor may be: name -> amount."""
    concurrent_blocks: int = 1
    """Blocks that one actor works on at a time, in threads."""


@dataclass(frozen=True, kw_only=True)
class Reuse:
    """How a stage works on each distinct image once (`operators.base.reuse`)."""

    first: int
    """The first of its operators whose work is spared: that from which on bytes decide everything."""
    decided_by: tuple[str, ...]
    """Columns of the source that decide with the bytes what comes out."""


@dataclass(frozen=True, kw_only=True)
class BlockParts:
    """How a stage that makes pixels and uses them up has those of a few rows at a time, however large its blocks."""

    first: int
    """The first of its operators that works on parts of a block; those before it work on whole blocks."""
    rows: int


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A chain of operators that runs in one actor pool."""

    name: str
    operators: tuple[OperatorConfig, ...]
    resources: Resources
    reuse: Reuse | None = None
    """None: every image is worked on, whatever its bytes."""
    parts: BlockParts | None = None
    """None: all operators work on whole blocks."""
    halted: Callable[[], bool] | None = None
    """Tells whether the run is ending, as when a quota is used up. Once it is, blocks pass through unprocessed. Pickled
    to the workers."""

    @property
    def operator_names(self) -> tuple[str, ...]:
        """The names, each once, in order: with several models, each model has an operator of the same name."""
        return tuple(dict.fromkeys(operator.name for operator in self.operators))


def fold_schema(schema: pa.Schema, stages: Sequence[Stage]) -> pa.Schema:
    """The schema after all stages. Raises `PlanError` where an operator reads a column that is not there."""
    for stage in stages:
        for operator in stage.operators:
            missing = operator.reads - set(schema.names)
            if missing:
                raise PlanError(
                    f"stage {stage.name!r}: operator {operator.name!r} reads "
                    f"{', '.join(sorted(missing))}, which no earlier operator gives; "
                    f"columns there: {', '.join(schema.names)}"
                )
            schema = operator.output_schema(schema)
    return schema
