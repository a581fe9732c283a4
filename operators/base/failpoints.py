"""Named places in the code where a test can end the process, stop it, raise or wait. Off unless the environment says
so.

    PIXLAKE_FAILPOINTS="commit.vectors=kill@3;write.receipt=wait:0.5;decode.row=kill"
    PIXLAKE_FAILPOINTS_ONCE=/tmp/done

An action is taken each time that a process comes to its place, with `@N` the Nth time alone. With a folder in
`PIXLAKE_FAILPOINTS_ONCE` each place acts once over all processes that share it, restarts included, and leaves a file of
its name there that says which process it was in: the record that a fault took effect.

Nothing but the environment of a process switches them on: no option, no configuration, no manifest. Ray's workers have
the environment of the `ray start`, or of the driver, that began them, and decode processes are handed it. Every process
in which they are on says so on stderr, and a name or an action that there is not is an error.
"""

import os
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from operators.base.errors import UserError

ON, ONCE = "PIXLAKE_FAILPOINTS", "PIXLAKE_FAILPOINTS_ONCE"

PLACES = {
    "fetch.before": "a block is about to be fetched",
    "fetch.after": "a block is fetched",
    "decode.row": "a decode process begins with an image",
    "decode.after": "a block is decoded",
    "embed.before": "a block is about to go through the model, or to be asked of the service",
    "embed.after": "a block has its vectors; those of a service are paid for",
    "write.before": "rows have arrived at the sink; no file of them is written",
    "write.between": "the fragment of vectors is written, that of failures is not",
    "receipt.before": "both fragments are written, and nobody knows of them",
    "receipt.arrived": "the driver has a receipt that is in no wave yet",
    "commit.failures": "a wave's failures are about to be committed",
    "commit.between": "a wave's failures are committed, its vectors are not",
    "commit.vectors": "a wave's vectors are about to be committed",
    "commit.after": "a wave is committed, and nothing is said of it",
    "move.between": "tried failures have their vectors, and their old rows still stand",
    "table.built": "a commit is built, and about to be sent",
    "table.landed": "a commit has landed, and its answer has not come: `raise` loses it, `wait` delays it",
    "claim.between": "one table is claimed, the other is not",
    "create.between": "the failures table is made, the vector table is not",
    "register.between": "a manifest's record is in the failures table alone",
    "epoch.before": "an epoch is about to begin",
    "epoch.after": "an epoch has ended, and its last wave is committed",
    "run.audited": "every row is in a table, and the manifest is not recorded as complete",
    "derive.added": "the column of a reduction is there, empty",
    "derive.written": "a worker has written a reduction's file",
    "derive.commit": "a wave of a reduction is about to be committed",
    "derive.landed": "a wave of a reduction is committed, and not recorded",
    "duplicates.begun": "a search for duplicates has its cells, and no vector in one",
    "duplicates.scattered": "all vectors are in their cells, and none is compared",
    "duplicates.compared": "all cells are compared, and nothing is grouped",
    "duplicates.written": "the table of duplicates is written, and the work is still there",
    "index.trained": "an index has its model, and no segment",
    "index.built": "a segment is built",
    "index.recorded": "an index is measured and its record written, and it is not published",
    "index.published": "an index is published, and the records of those in whose place it came are still there",
    "refresh.compared": "source and table are compared, and nothing is done",
    "refresh.delta": "the manifest of what is new is written",
    "refresh.failures": "new failures are in place of old ones, and the vectors are not",
    "refresh.vectors": "new vectors are in place of old ones, and failures that they mend still stand",
    "refresh.carried": "rows are written again, and not committed",
    "refresh.applied": "rows are carried, and what is gone is not deleted",
    "swap.begun": "a swap is on record, and its column is not there",
    "swap.embedded": "the side table is filled, the column is not",
    "swap.written": "a worker has written a file of the new column",
    "swap.commit": "a wave of the new column is about to be committed",
    "swap.noted": "a step of a swap is on record",
    "swap.renamed": "columns have changed names, and the record does not say so",
    "swap.dropped": "a column is dropped, and the record does not say so",
}
"""Every place -> what is so there. One list; a test holds it to the code."""

Action = Literal["kill", "stop", "raise", "wait"]
ACTIONS: tuple[Action, ...] = ("kill", "stop", "raise", "wait")


@dataclass(frozen=True, kw_only=True)
class Failpoint:
    """What is done at one place. `kill` and `stop` are SIGKILL and SIGSTOP for this process, `raise` an `OSError` as
    storage gives it, `wait` a sleep."""

    place: str
    action: Action
    seconds: float = 0.0
    at: int | None = None
    """The how manieth time; None: each time."""


class _On:
    """What the environment has switched on in this process."""

    def __init__(self, points: tuple[Failpoint, ...], once: Path | None) -> None:
        self._points = {point.place: point for point in points}
        self._once = once
        self._came: Counter[str] = Counter()
        self._lock = threading.Lock()

    def at(self, place: str) -> None:
        point = self._points.get(place)
        if point is None:
            return
        with self._lock:
            self._came[place] += 1
            due = point.at in (None, self._came[place]) and self._first(place)
        if due:
            _act(point)

    def _first(self, place: str) -> bool:
        """Whether no process has acted here before; from now on this one has."""
        if self._once is None:
            return True
        try:
            file = os.open(self._once / place, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        with os.fdopen(file, "w") as record:
            record.write(f"{os.getpid()} {time.time():.3f} {' '.join(sys.argv)}\n")
        return True


def _act(point: Failpoint) -> None:
    if point.action == "wait":
        time.sleep(point.seconds)
    elif point.action == "raise":
        raise OSError(f"failpoint {point.place} ({ON})")
    else:
        os.kill(os.getpid(), signal.SIGKILL if point.action == "kill" else signal.SIGSTOP)


def read_failpoints(text: str) -> tuple[Failpoint, ...]:
    """The failpoints of a text such as `commit.vectors=kill@3;fetch.after=wait:0.5`. Raises `UserError` for a place or
    an action that there is not."""
    points = tuple(_read_one(part.strip()) for part in text.split(";") if part.strip())
    twice = [place for place, count in Counter(point.place for point in points).items() if count > 1]
    if twice:
        raise UserError(f"{ON}: {', '.join(twice)} is there twice; a place does one thing")
    return points


def _read_one(part: str) -> Failpoint:
    place, _, what = part.partition("=")
    what, _, at = what.partition("@")
    action, _, seconds = what.partition(":")
    if place not in PLACES:
        raise UserError(f"{ON}: there is no place {place!r}; there are {', '.join(PLACES)}")
    try:
        if action not in ACTIONS or bool(seconds) != (action == "wait"):
            raise ValueError
        number = int(at) if at else None
        waits = float(seconds or 0)
        if (number is not None and number < 1) or waits < 0:
            raise ValueError
    except ValueError:
        raise UserError(
            f"{ON}: {part!r} is none of PLACE=kill, PLACE=stop, PLACE=raise and PLACE=wait:SECONDS, with @N for the "
            "Nth time"
        ) from None
    return Failpoint(place=place, action=action, seconds=waits, at=number)


_on: _On | None = None
_unread = ON in os.environ
"""Whether the environment has something that was not read yet: an error in it is for whoever asks first, and none of an
import."""


def switch_on() -> None:
    """Read the environment, anew where it was read before, and say on stderr what it switches on. Raises
    `UserError`."""
    global _on, _unread
    text, once = os.environ.get(ON, ""), os.environ.get(ONCE)
    points = read_failpoints(text)
    if once is not None and not Path(once).is_dir():
        raise UserError(f"{ONCE}: {once!r} is no folder; make it, or leave the variable out")
    _on = _On(points, Path(once) if once is not None else None) if points else None
    _unread = False
    if points:
        print(
            f"pixlake: failpoints are on in process {os.getpid()} ({ON}={text}): it will fail on purpose; unset {ON} "
            "where this is no test",
            file=sys.stderr,
            flush=True,
        )


def failpoint(place: str) -> None:
    """A place in `PLACES`. Does nothing unless the environment says so."""
    if _unread:
        switch_on()
    if _on is not None:
        _on.at(place)
