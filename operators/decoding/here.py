"""Decoding in this process, for the few images of a query: no limits of time or memory, and no process to start."""

import threading
from collections.abc import Sequence
from typing import Any

from operators.decoding.child import Setup, decode_rows
from operators.decoding.hand_over import Results, Take, hand_over
from operators.decoding.kept_memory import KeptMemory
from operators.decoding.shared_rows import SharedRows


class DecodeHere:
    """Does the same as `DecodeProcess`, in the very same steps."""

    def __init__(self, setup: dict[str, Any], row_bytes: Sequence[int], max_regions: int | None = None) -> None:
        self._setup = Setup.model_validate(setup)
        self._shared = SharedRows.create(row_bytes, max_regions)
        self._lock = threading.Lock()
        self._memory = KeptMemory()

    def decode(self, images: Sequence[memoryview], given: Sequence[bytes] | None = None) -> Results:
        """Decode: all rows end DONE or FAILED; `given` as in `hand_over`. Calls from several threads wait for each
        other."""
        with self._lock:
            return hand_over(self._shared, images, given, self._run, self._memory)

    def close(self) -> None:
        """There is nothing to end."""

    def _run(self, count: int, take: Take) -> None:
        decode_rows(self._shared, count, self._setup, full=take)
        take()
