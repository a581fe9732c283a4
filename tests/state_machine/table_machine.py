"""The state machine: hypothesis draws which operation comes next, and with what."""

import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

# These register their operations.
import state_machine.our_columns
import state_machine.our_deletes
import state_machine.our_reads
import state_machine.our_runs
import state_machine.our_upkeep
import state_machine.their_columns
import state_machine.their_rows
import state_machine.their_versions  # noqa: F401
from state_machine.operations import OPERATIONS, Operation
from state_machine.world import World

COUNTS: Counter[str] = Counter()
"""Steps by operation, and what became of ours, over all examples of the process."""
SECONDS: Counter[str] = Counter()


class TableMachine(RuleBasedStateMachine):
    """One pair of tables a example; every step is one operation, compared with the model at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="pixlake-machine-"))
        self.world: World | None = None

    @initialize(kind=st.sampled_from(["vectors", "vectors", "images"]), stable=st.booleans())
    def start(self, kind: Any, stable: bool) -> None:
        self.world = World(self.folder, kind, stable_row_ids=stable)

    def teardown(self) -> None:
        if self.world is not None:
            COUNTS.update(self.world.did)
        shutil.rmtree(self.folder, ignore_errors=True)


def _rule(name: str, chosen: Operation) -> Any:
    def step(self: TableMachine, pick: int) -> None:
        assert self.world is not None
        began = time.monotonic()
        try:
            chosen.act(self.world, random.Random(pick))
        finally:
            COUNTS[f"step {name}"] += 1
            SECONDS[name] += time.monotonic() - began

    step.__name__ = name
    needed = precondition(lambda self: self.world is not None and chosen.needs(self.world))
    return rule(pick=st.integers(0, 2**16))(needed(step))


for _name, _chosen in OPERATIONS.items():
    for _again in range(_chosen.weight):
        setattr(TableMachine, f"{_name}{_again or ''}", _rule(_name, _chosen))
