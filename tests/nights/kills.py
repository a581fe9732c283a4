"""`pixlake` killed at random while it works, itself or one of its workers, and started again until it ends."""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos.victims import SHOWN
from end_to_end.command import Ended, pixlake_here, start
from end_to_end.processes import descendants, kill_leftovers

WORKERS: dict[str, str] = {**SHOWN, "model process": "operators.models.child"}
"""What the command lines of processes that do the work hold."""
_WORKER_S = 60.0
"""How long a kill that is meant for a worker waits for one; most come with Ray, after tens of seconds."""
_TIMEOUT_S = 300.0


@dataclass
class Ledger:
    """Kills that took effect: the process was there, and in the middle of what it says."""

    killed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(`driver` or which worker, what the command had said last) -> how often."""
    missed: int = 0
    """The command had ended by itself."""

    @property
    def total(self) -> int:
        return self.killed.total()

    def lines(self) -> list[str]:
        return [f"{count:5,}  {who} while {said}" for (who, said), count in sorted(self.killed.items())]


class KilledRuns:
    """Runs commands; those of the verbs that are to suffer are killed `kills` times on the way, at most."""

    def __init__(self, seed: int, kills: int, verbs: tuple[str, ...], *, workers: float = 0.25) -> None:
        """`workers`: the share of the kills that are meant for a worker."""
        self.ledger = Ledger()
        self.look: Callable[[], None] = lambda: None
        """Called after each kill of a driver: what a reader sees then."""
        self._rng = random.Random(seed)
        self._kills, self._verbs, self._workers = kills, verbs, workers
        self._took: dict[tuple[str, ...], float] = {}
        """Verb and what stands by itself beside it -> seconds that its latest whole run took, from its first line."""

    def __call__(self, *arguments: str) -> Ended:
        if arguments[0] not in self._verbs:
            return pixlake_here(*arguments)
        for _ in range(self._kills):
            ended = self._killed_once(*arguments)
            if ended is not None:
                return ended
        watched = _Watched(*arguments)
        watched.wait_for_work()
        began = time.monotonic()
        ended = watched.end()
        if ended.code == 0:
            self._took[_action(arguments)] = time.monotonic() - began
        return ended

    def _killed_once(self, *arguments: str) -> Ended | None:
        """None where the command is to be started again; else how it ended by itself, or with a worker less."""
        watched = _Watched(*arguments)
        of_worker = self._rng.random() < self._workers
        if watched.wait_for_work():
            time.sleep(self._rng.uniform(0, self._took.get(_action(arguments), 1.0)))
        process = watched.process
        if of_worker and self._kill_worker(watched):
            return watched.end()
        if process.poll() is not None:
            self.ledger.missed += 1
            return watched.end()
        below, said = descendants(process.pid), watched.said
        process.kill()
        if watched.end().code == -signal.SIGKILL:
            self.ledger.killed["driver", said] += 1
        else:
            self.ledger.missed += 1
        kill_leftovers(below)
        self.look()
        return None

    def _kill_worker(self, watched: "_Watched") -> bool:
        """Kill one of a kind that is drawn among those there; false where none comes."""
        deadline = time.monotonic() + _WORKER_S
        while watched.process.poll() is None and time.monotonic() < deadline:
            there = descendants(watched.process.pid).items()
            kinds = {who: [pid for pid, text in there if part in text] for who, part in WORKERS.items()}
            found = sorted(who for who, pids in kinds.items() if pids)
            if not found:
                time.sleep(0.05)
                continue
            who, said = self._rng.choice(found), watched.said
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._rng.choice(sorted(kinds[who])), signal.SIGKILL)
                self.ledger.killed[who, said] += 1
                return True
        return False


def _action(arguments: Sequence[str]) -> tuple[str, ...]:
    return (arguments[0], *(each for each in ("--rollback", "--finish") if each in arguments))


class _Watched:
    """A command whose lines on stderr are read as they come."""

    def __init__(self, *arguments: str) -> None:
        self.process: subprocess.Popen[str] = start(*arguments)
        self._quiet = len(_action(arguments)) > 1
        self._lines: list[str] = []
        self._out: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_err, daemon=True),
            threading.Thread(target=self._read_out, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def said(self) -> str:
        """The beginning of the last line, without numbers: what the command does."""
        last = self._lines[-1] if self._lines else "starting"
        return " ".join(word for word in last.strip().split()[:5] if word.isalpha()) or "working"

    def wait_for_work(self) -> bool:
        """Whether the command has come so far that it says what it does or, where it is over before it would say
        anything, that it has loaded what works on tables."""
        deadline = time.monotonic() + _TIMEOUT_S
        while self.process.poll() is None and time.monotonic() < deadline:
            if any("importing" not in line for line in self._lines) or (self._quiet and self._has_lance()):
                return True
            time.sleep(0.005)
        return False

    def _has_lance(self) -> bool:
        """In the driver, a child of the process that was started."""
        for pid in descendants(self.process.pid):
            with contextlib.suppress(OSError):
                if "lance.abi3.so" in Path(f"/proc/{pid}/maps").read_text():
                    return True
        return False

    def end(self) -> Ended:
        code = self.process.wait(_TIMEOUT_S)
        for reader in self._readers:
            # A worker that outlives its driver may hold the pipes.
            reader.join(5)
        return Ended(code, "".join(self._out), "".join(self._lines))

    def _read_err(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.append(line)

    def _read_out(self) -> None:
        assert self.process.stdout is not None
        self._out.append(self.process.stdout.read())
