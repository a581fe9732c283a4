"""The processes of a run, by what they do, and their end."""

import contextlib
import os
import random
import signal

from chaos.plan import Who
from end_to_end.processes import descendants

SHOWN: dict[Who, str] = {
    "decode child": "operators.decoding.child",
    "preprocess actor": "MapBatches(Preprocess",
    "embed actor": "MapBatches(Embed",
    "write actor": "MapBatches(WriteWorker",
    "worker on the table": "ray::_call",
}
"""What the command line of such a process holds."""


def kill_one(who: Who, below: int, rng: random.Random) -> bool:
    """SIGKILL for one such process among the descendants of `below`; false where there is none."""
    for pid in _shuffled(rng, [pid for pid, command in descendants(below).items() if SHOWN[who] in command]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def _shuffled(rng: random.Random, pids: list[int]) -> list[int]:
    pids = sorted(pids)
    rng.shuffle(pids)
    return pids
