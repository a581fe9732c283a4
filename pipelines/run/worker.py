"""One stage at work: its operators built, applied in order, and timed. The same object serves both executors."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from operators.base.columns import SECONDS_PREFIX
from operators.base.operator import Operator, OperatorConfig
from operators.base.process_settings import keep_freed
from operators.base.reuse import KnownImages
from operators.base.rows import good_rows, leave_undone
from pipelines.run.stage import Resources, Stage

LOAD = "load_"
"""Prefix of a stage's name where seconds are recorded by operator name."""


class StageWorker:
    """Called with a block, gives the block after all operators of the stage. Several threads may call it at a time.

    It adds `seconds_<operator>`: the block's wall time in all operators of that name, shared equally by its rows, so
    that the sum over rows is the time spent, however blocks are cut or joined later. It also adds
    `seconds_load_<stage>`: on every row, the seconds it took to build the operators, so that the mean over rows is
    right however they travel.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage.name
        self.halted = stage.halted
        started = time.perf_counter()
        keep_freed()
        self.on_gpu = stage.resources.num_gpus > 0
        cores = max(1, int(stage.resources.num_cpus))
        self.operators = _build([config.on_cores(cores) for config in stage.operators])
        self.load_seconds = time.perf_counter() - started
        self.reuse, self.parts = stage.reuse, stage.parts
        self.known_images = None if stage.reuse is None else KnownImages(stage.reuse.decided_by)

    def __call__(self, block: pa.Table) -> pa.Table:
        if self.halted is not None and self.halted():
            # Sources read far ahead: without this, all that is read would be fetched and decoded for nothing.
            good = np.flatnonzero(good_rows(block).to_numpy())
            block = leave_undone(block, dict.fromkeys(good.tolist(), "the run was ending"), self.stage)
        spent = dict.fromkeys((operator.config.name for operator in self.operators), 0.0)
        if self._in_parts(block):
            block = pa.concat_tables([self._worked(part, spent) for part in self._parts_of(block)]).combine_chunks()
        else:
            block = self._worked(block, spent)
        for name, seconds in spent.items():
            block = add_seconds(block, name, seconds)
        return add_seconds(block, f"{LOAD}{self.stage}", self.load_seconds * block.num_rows)

    def _worked(self, block: pa.Table, spent: dict[str, float]) -> pa.Table:
        """The block after all operators; their seconds are added to `spent`."""
        if self.reuse is None or self.known_images is None:
            return self._from(0, block, spent)
        first = self.reuse.first
        block = _through(self.operators[:first], block, spent)
        return self.known_images.through(block, partial(self._from, first, spent=spent))

    def _from(self, first: int, block: pa.Table, spent: dict[str, float]) -> pa.Table:
        """The block after the operators from the `first` on."""
        if self.parts is None or block.num_rows <= self.parts.rows:
            return _through(self.operators[first:], block, spent)
        middle = max(first, self.parts.first)
        block = _through(self.operators[first:middle], block, spent)
        done = [_through(self.operators[middle:], part, spent) for part in self._parts_of(block)]
        return pa.concat_tables(done).combine_chunks()

    def _in_parts(self, block: pa.Table) -> bool:
        """Whether all operators work on a part of the block after the other: nothing of it is in memory twice, and the
        images' bytes of one part at a time."""
        if self.parts is None or block.num_rows <= self.parts.rows:
            return False
        return not any(operator.gains_by_many(block) for operator in self.operators[: self.parts.first])

    def _parts_of(self, block: pa.Table) -> Iterator[pa.Table]:
        assert self.parts
        return (block.slice(row, self.parts.rows) for row in range(0, block.num_rows, self.parts.rows))

    def close(self) -> None:
        for operator in self.operators:
            operator.close()


@contextmanager
def working_stage(operators: Sequence[OperatorConfig], cores: int) -> Iterator[StageWorker]:
    """A stage of a run on this machine's cores, ended when it is left."""
    worker = StageWorker(
        Stage(name="sample", operators=tuple(operators), resources=Resources(num_actors=1, num_cpus=float(cores)))
    )
    try:
        yield worker
    finally:
        worker.close()


def _through(operators: Sequence[Operator[Any]], block: pa.Table, spent: dict[str, float]) -> pa.Table:
    """The block after the operators; their seconds are added to `spent`."""
    for operator in operators:
        started = time.perf_counter()
        block = operator(block)
        spent[operator.config.name] += time.perf_counter() - started
    return block


def _build(configs: Sequence[OperatorConfig]) -> list[Operator[Any]]:
    """Build operators of different names side by side: while the model loads, the process that decodes starts. Models
    are built one after the other: each loads with all cores, and libraries that load two at a time share random state
    and log filters."""
    names = dict.fromkeys(config.name for config in configs)

    def build(name: str) -> list[Operator[Any]]:
        return [config.build() for config in configs if config.name == name]

    with ThreadPoolExecutor(len(names)) as pool:
        built = {name: iter(operators) for name, operators in zip(names, pool.map(build, names), strict=True)}
    return [next(built[config.name]) for config in configs]


def add_seconds(block: pa.Table, operator: str, seconds: float) -> pa.Table:
    share = np.full(block.num_rows, seconds / max(1, block.num_rows), np.float32)
    return block.append_column(pa.field(SECONDS_PREFIX + operator, pa.float32()), pa.array(share))
