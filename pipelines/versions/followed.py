"""A table that is read for as long as a process runs, and moves on meanwhile."""

import threading
import time
from typing import Any

from pipelines.table.table import Table

LOOKED_S = 1.0
"""Seconds for which a version is taken for the latest: on storage each look is a request or two."""


class FollowedTable:
    """The vector table at a version that was the latest a second ago at most. Thread-safe."""

    def __init__(self, table: Table) -> None:
        """Raises `UserError` where there is no table, `OSError` where storage fails."""
        self.table = table
        self._dataset = table.latest()
        self._looked = time.monotonic()
        self._lock = threading.Lock()

    def latest(self) -> Any:
        """The table (a Lance dataset). Raises as the constructor does."""
        # Whoever comes while another looks takes what is there: one caller in a second waits for storage.
        if time.monotonic() - self._looked >= LOOKED_S and self._lock.acquire(blocking=False):
            try:
                self._dataset = self._moved_on()
                self._looked = time.monotonic()
            finally:
                self._lock.release()
        return self._dataset

    def reopen(self) -> Any:
        """The table opened anew, where what a read met says that it was replaced: its number may be the same."""
        with self._lock:
            self._dataset = self.table.latest()
            self._looked = time.monotonic()
        return self._dataset

    def _moved_on(self) -> Any:
        dataset = self._dataset
        try:
            latest = dataset.latest_version
            # Within one session, which keeps what it has read of indexes and files.
            return dataset if latest == dataset.version else dataset.checkout_version(latest)
        except (ValueError, OSError):
            return self.table.latest()
