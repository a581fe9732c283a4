"""The long form: `make machine STEPS=10000 SEED=1`. Prints steps, operations and faults."""

import argparse
import os
import sys
import time
import traceback

os.environ.setdefault("LANCE_LOG", "error")

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from state_machine.table_machine import COUNTS, SECONDS, TableMachine

STEPS_EACH = 50
TABLES_EACH = 40
"""In a round: the first one that hypothesis draws is the simplest there is."""


def _steps() -> int:
    return sum(count for name, count in COUNTS.items() if name.startswith("step "))


def _round(number: int, shrink: bool) -> str | None:
    """Some pairs of tables, made and touched, up to the first fault; what it was."""
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    how = settings(
        max_examples=TABLES_EACH,
        stateful_step_count=STEPS_EACH,
        phases=phases,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seed(number)(TableMachine), settings=how)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "".join(traceback.format_exception(error, limit=-8, chain=False))
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--shrink", action="store_true", help="reduce each fault to its shortest form, which takes minutes"
    )
    parser.add_argument("--stop", action="store_true", help="end at the first fault")
    asked = parser.parse_args()
    began, faults, rounds = time.monotonic(), 0, 0
    while _steps() < asked.steps:
        wrong = _round(asked.seed * 1_000_000 + rounds, asked.shrink)
        if wrong is not None:
            faults += 1
            print(f"\nFAULT {faults}, round {rounds} of seed {asked.seed}:\n{wrong}", flush=True)
            if asked.stop:
                break
        rounds += 1
        print(f"{_steps():,} steps, {time.monotonic() - began:,.0f} s, {faults} faults", file=sys.stderr, flush=True)
    seconds = time.monotonic() - began
    for name, count in sorted(COUNTS.items()):
        took = SECONDS.get(name.removeprefix("step "), 0.0) if name.startswith("step ") else 0.0
        print(f"{count:7,}  {name}" + (f"  {took / count:.3f} s each" if took else ""))
    steps = _steps()
    print(f"seed {asked.seed}: {steps:,} steps in {rounds:,} rounds, {seconds:,.0f} s, {seconds / steps:.3f} s a step")
    print(f"{faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
