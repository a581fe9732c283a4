"""What a process that works for long sets for itself: garbage, freed memory, and its turns on the cores."""

import ctypes
import gc
import os
from contextlib import suppress

_ALLOCATIONS = 100_000

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_HEAP_BYTES = 32 << 20
"""The most that glibc takes out of its heap at a time."""
_KEPT_BYTES = 128 << 20
_MAPPED_BYTES, _TRIM_BYTES = 1 << 20, 128 << 10


def collect_rarely() -> None:
    """Look for cycles after 100,000 new objects, not 700: imports of torch and timm make a million that stay, and a
    fifth of their time went into looking through them (0.8 s of 4.0 s; 0.2 s with this)."""
    gc.set_threshold(_ALLOCATIONS, 20, 50)


def pass_over_what_is_here() -> None:
    """Have garbage collections pass over all objects of this process that are there by now, and live as long as it.

    An actor with torch and Ray has half a million, a look through all of them takes 0.25 s, and Python looks whenever a
    quarter as many new ones have lasted: every 8 s where a block has 2,048 rows, 1.1 % of two cores.
    """
    # What is garbage by now would be kept as well.
    gc.collect()
    gc.freeze()


def take_long_turns() -> None:
    """Have this thread, and those that it starts, leave a core to whoever wakes up only as their turn comes (Linux's
    `SCHED_BATCH`, for work that nobody waits for by the millisecond).

    Where processes that decode and threads that embed share cores, each is thrown out of the caches less often. Runs of
    EfficientNet-Lite0 on two cores came from 0.89 to 0.93, 0.95 and 0.99 of the bare limit with this and with files
    read by one thread. A policy that a user has chosen (`chrt`) stays.
    """
    if hasattr(os, "SCHED_BATCH"):
        # A container may forbid it.
        with suppress(OSError):
            if os.sched_getscheduler(0) == os.SCHED_OTHER:
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def keep_freed() -> None:
    """Have up to 128 MiB of freed memory be kept for what comes next, from now on in this process.

    glibc may give a block's images back to the system as the block ends, and the system fills the memory of the next
    ones with zeros, 4 KiB at a time: 12 pages for a file of 50 KB, none with this.
    """
    _tell_malloc(_M_MMAP_THRESHOLD, _HEAP_BYTES)
    _tell_malloc(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back_at_once() -> None:
    """Have memory of a megabyte and more go back to the system as soon as it is freed, from now on in this process.

    glibc keeps it for later, up to 32 MiB each, in a heap that the coming and going of tensors tears into pieces too
    small to be used again. A training step of ViT-Ti/16 with 16 images had tensors of 77 MiB and took 380 MiB (525
    without gradient checkpointing), so 103 MiB, for 3.0 in place of 2.1 s of CPU. A ResNet-18 with 60 MiB
    left could not embed even a single image any more in a third of the runs; with this, it took six at a time in all.
    """
    _tell_malloc(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
    _tell_malloc(_M_TRIM_THRESHOLD, _TRIM_BYTES)


def _tell_malloc(option: int, value: int) -> None:
    """glibc's; others do as they do."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(option, value)
