"""Memory for the pixels of a block, used again for the next one."""

import mmap
import weakref
from collections import deque

import numpy as np

LEAST_BYTES = 4 << 20
"""Smaller arrays are left to the allocator, which keeps memory of their size itself."""
MOST_OVER = 2
"""How many times as much memory as an array needs it may be given."""


class KeptMemory:
    """Makes arrays. Once nobody holds one any more, nor a view of it, its memory is kept for the next: the kernel fills
    fresh memory with zeros first, which takes 10 us for 224 x 224 pixels, longer than to copy them there, and 170 us
    where other processes keep the memory busy.

    Thread-safe. The memory of `most` arrays is kept while none uses it.
    """

    def __init__(self, most: int = 1) -> None:
        self._free: deque[mmap.mmap] = deque(maxlen=most)
        self._largest = 0

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """As `numpy.empty`."""
        size = int(np.prod(shape)) * dtype.itemsize
        if size < LEAST_BYTES:
            return np.empty(shape, dtype)
        # The parts of a block take turns: memory for the smaller one would not do for the larger one after it.
        self._largest = max(self._largest if self._largest <= MOST_OVER * size else 0, size)
        memory = self._kept(size) or _fresh(self._largest)
        # Views of it hold this very array, and not what is behind it.
        array = np.frombuffer(memory, np.uint8, size)
        weakref.finalize(array, self._free.append, memory).atexit = False
        return array.view(dtype).reshape(shape)

    def _kept(self, size: int) -> mmap.mmap | None:
        try:
            memory = self._free.pop()
        except IndexError:
            return None
        return memory if size <= len(memory) <= MOST_OVER * size else None


def _fresh(size: int) -> mmap.mmap:
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
