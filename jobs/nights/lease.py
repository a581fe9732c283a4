"""A lease beside a table: one job holds it at a time, and one that was killed holds it no longer.

Each holder has a term: the object `term-N.json`, which is created only where it is not there yet, so that of two who
want the same term one gets it. The highest term counts. Its holder writes the object again every `BEAT_S`; an object
that nobody has written for `STALE_S` is nobody's, and the next term may be taken. Two rules keep clocks out of it: how
old an object is, is measured by the store's own clock against an object written just now; and a holder that could not
write for `STALE_S`, by its own clock that only counts up, gives up by itself. Tables have fences of their own: where
both rules fail, of two jobs one publishes.
"""

import contextlib
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError

from operators.storage.redact import reason_of
from operators.storage.stores import StorageOptions, object_store

BEAT_S = 15.0
STALE_S = 120.0
POLL_S = 2.0

_TERM = re.compile(r"term-(\d{10})\.json")


class LeaseLostError(OSError):
    """Another job has taken the lease over, because this one could not show for too long that it lives."""


@dataclass(frozen=True, kw_only=True)
class LeaseHolder:
    """Who holds a term, as its object says."""

    token: str
    """Random: nobody else writes it."""
    host: str
    pid: int
    machine: str | None
    """Which machine and which of its tables of processes the pid belongs to; None where that cannot be told."""
    started: str | None
    """When the process began, in the machine's own ticks: a pid is given out again."""
    since: str
    """For people to read."""

    @classmethod
    def here(cls) -> "LeaseHolder":
        return cls(
            token=secrets.token_hex(8),
            host=socket.gethostname(),
            pid=os.getpid(),
            machine=_machine(),
            started=_process_start(os.getpid()),
            since=time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime()),
        )

    @property
    def is_here(self) -> bool:
        """Whether it is known to be a process of this machine."""
        return self.machine is not None and self.machine == _machine()

    @property
    def has_ended(self) -> bool:
        """Whether the process is known to be gone: it ran on this machine, and is not there any more."""
        return self.is_here and _process_start(self.pid) != self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


class Lease:
    """The lease in a folder; given back on exit, if it is ours."""

    def __init__(
        self, folder: str, storage: StorageOptions, *, beat_s: float = BEAT_S, stale_s: float = STALE_S
    ) -> None:
        self.holder: LeaseHolder | None = None
        """Who held it when `take` last found it taken, where that could be read."""
        self._folder = folder
        self._store, self._prefix = object_store(folder, storage)
        self._beat_s, self._stale_s = beat_s, stale_s
        self._me = LeaseHolder.here()
        self._term = 0
        self._written = 0.0
        """When the last write of our object that got through began."""
        self._over, self._lost = threading.Event(), threading.Event()
        self._beating: threading.Thread | None = None

    def take(self) -> bool:
        """Whether the lease is ours now; else `holder` has it. Raises `OSError` where storage fails."""
        try:
            return self._take()
        except BaseError as error:
            raise OSError(f"{self._folder}: the lease cannot be read or written: {reason_of(error)}") from None

    def check(self) -> None:
        """Raises `LeaseLostError` where the lease is not ours any more."""
        if self._lost.is_set() or time.monotonic() - self._written > self._stale_s:
            raise LeaseLostError(
                f"{self._folder}: another job has taken over, or this one could not write there for {self._stale_s:g} s"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._beating is None:
            return
        self._beating.join()
        # Where this fails the term is free once it is stale.
        with contextlib.suppress(BaseError, OSError):
            self._put(_name(self._term), {**asdict(self._me), "released": True})

    def _take(self) -> bool:
        there = self._listed(aged=True)
        last = max(_terms(there), default=0)
        if last:
            self.holder = self._read(last)
            fresh = there[_name(last)] < self._stale_s
            if self.holder is not None and not self.holder.has_ended and fresh:
                return False
        began, mine = time.monotonic(), last + 1
        created = self._create(mine)
        latest = max(_terms(self._listed()), default=0)
        # A later one is there where we were away for so long, before we created ours, that others came and went.
        if not created or latest > mine:
            self.holder = self._read(latest)
            return False
        self._term, self._written = mine, began
        for name in there:
            self._delete(name)
        self._beating = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._beating.start()
        return True

    def _beat(self) -> None:
        while not self._over.wait(self._beat_s):
            began = time.monotonic()
            # Storage that fails for a while is no loss yet: `check` knows when it is.
            with contextlib.suppress(BaseError, OSError):
                if max(_terms(self._listed()), default=0) > self._term:
                    self._lost.set()
                    return
                self._put(_name(self._term), asdict(self._me))
                self._written = began

    def _listed(self, aged: bool = False) -> dict[str, float]:
        """Name -> seconds since it was written, by the store's clock alone; 0 unless `aged`."""
        now = f"now-{self._me.token}.json"
        if aged:
            self._put(now, {})
        try:
            metas = obstore.list_with_delimiter(self._store, prefix=self._prefix)["objects"]
        except FileNotFoundError:
            return {}
        written = {meta["path"].rpartition("/")[2]: meta["last_modified"] for meta in metas}
        if not aged:
            return dict.fromkeys(written, 0.0)
        self._delete(now)
        # Another's, on taking the lease, may delete all that it finds.
        at = written.pop(now, None)
        return {name: (at - then).total_seconds() if at else 0.0 for name, then in written.items()}

    def _create(self, term: int) -> bool:
        try:
            obstore.put(self._store, self._key(_name(term)), json.dumps(asdict(self._me)).encode(), mode="create")
        except AlreadyExistsError:
            # The client asks again where an answer was lost: then the first attempt was ours.
            there = self._read(term)
            return there is not None and there.token == self._me.token
        return True

    def _put(self, name: str, value: dict[str, Any]) -> None:
        obstore.put(self._store, self._key(name), json.dumps(value).encode())

    def _read(self, term: int) -> LeaseHolder | None:
        """Who holds the term; None where it was released, or its object is gone."""
        try:
            said = json.loads(bytes(obstore.get(self._store, self._key(_name(term))).bytes()))
        except FileNotFoundError:
            return None
        return None if said.pop("released", False) else LeaseHolder(**said)

    def _delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, self._key(name))

    def _key(self, name: str) -> str:
        return f"{self._prefix.rstrip('/')}/{name}"


def _name(term: int) -> str:
    return f"term-{term:010d}.json"


def _terms(names: Iterable[str]) -> list[int]:
    return [int(found[1]) for name in names if (found := _TERM.fullmatch(name))]


def _machine() -> str | None:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _process_start(pid: int) -> str | None:
    """Ticks from the machine's start to the process's; None where there is no such process, or only its remains."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if after_name[0] in "ZX" else after_name[19]
