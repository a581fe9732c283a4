"""How many images a forward pass takes where memory does not suffice for all that it is given."""

import threading

PASSES_BEFORE_MORE = 16
"""Passes at the limit that must go well before twice as many are tried: a trial that fails costs about a pass."""


class BatchLimit:
    """No limit at first; the half of what did not fit; twice as many again after a while. For several threads."""

    def __init__(self) -> None:
        self._most: int | None = None
        self._passed = 0
        self._lock = threading.Lock()

    def of(self, images: int) -> int:
        """How many of `images` the next pass takes."""
        with self._lock:
            return images if self._most is None else min(images, self._most)

    def failed(self, images: int) -> None:
        """So many did not fit."""
        with self._lock:
            half = (images + 1) // 2
            self._most = half if self._most is None else min(half, self._most)
            self._passed = 0

    def passed(self, images: int, wanted: int) -> None:
        """So many of `wanted` went well."""
        with self._lock:
            if self._most is None or images < self._most:
                return
            self._passed += 1
            if self._passed < PASSES_BEFORE_MORE:
                return
            self._passed = 0
            self._most = None if 2 * self._most >= wanted else 2 * self._most
