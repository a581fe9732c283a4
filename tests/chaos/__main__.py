"""The long form: `make chaos ROWS=5000 KILLS=100 SEED=1`. A line a round, and the ledger; `--round N` does one again.

Rounds go on until so many kills took effect. A round in which none did, or that breaks a promise, ends all with 1.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
from itertools import count
from pathlib import Path

os.environ.setdefault("LANCE_LOG", "error")

from chaos.ledger import Ledger
from chaos.plan import Plan, plan_of
from chaos.round import ChaosFoundError, Round
from chaos.steps import Steps
from chaos.workers import OnRay
from servers.s3 import S3Server, s3_server

OF_A_TABLE = {-1: Steps, -2: OnRay}
LEAST_ROUNDS = 6
"""Until each executor has had its turn and every failpoint has come up."""


def one(plan: Plan, folder: Path, server: S3Server, total: Ledger) -> None:
    """A round, in a folder that is gone afterwards; `total` has it also where it fails."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="round-", dir=folder) as place:
        work = Round(plan, Path(place), server)
        try:
            work.go()
        finally:
            total.add(work.ledger)
    _say(f"{plan.title}, {time.monotonic() - began:,.0f} s: {work.ledger.line()}")
    if not work.ledger.kills.total:
        raise ChaosFoundError(f"no fault had an effect; {plan.replay}")


def steps(kind: type[Steps], rows: int, seed: int, folder: Path, total: Ledger) -> None:
    """What works on one table, killed as `kind` says."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="steps-", dir=folder) as place:
        work = kind(Path(place), rows, seed)
        try:
            work.go()
        finally:
            total.add(work.ledger)
    _say(f"{kind.title}, {time.monotonic() - began:,.0f} s: {work.ledger.line()}")


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5000, help="of each table")
    parser.add_argument("--kills", type=int, default=100, help="that must take effect")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--round", type=int, nargs="*", default=[], help="do these alone; -1 and -2 are those of a table"
    )
    asked = parser.parse_args()
    _say(f"seed {asked.seed}")
    total = Ledger()
    with tempfile.TemporaryDirectory(prefix="pixlake-chaos-") as name:
        folder = Path(name)
        (folder / "s3").mkdir()
        with s3_server(folder / "s3") as server:
            try:
                for number in asked.round or count():
                    if not asked.round and total.kills.total >= asked.kills and number >= LEAST_ROUNDS:
                        break
                    if number >= 0:
                        one(plan_of(asked.seed, number, asked.rows), folder, server, total)
                for number, kind in OF_A_TABLE.items():
                    if not asked.round or number in asked.round:
                        steps(kind, asked.rows, asked.seed, folder, total)
            except Exception:
                traceback.print_exc()
                _say("FAULT; so far:")
                _say("\n".join(total.lines()))
                return 1
    _say("\n".join(total.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
