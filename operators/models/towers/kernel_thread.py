"""Where a pass on a CPU runs: in the thread that asks for it, unless oneDNN makes no kernels there any more."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from operators.base.memory import NO_KERNEL

Made = TypeVar("Made")

_this_thread = threading.local()


def note_kernels(error: BaseException) -> None:
    """Take note where an error of a pass that was asked for in this thread says that no kernel could be made.

    oneDNN (of torch 2.15) keeps that for the thread, and makes no other kernel in it, however much memory there is
    later: every new shape ends so, a single image's too.
    """
    if NO_KERNEL in str(error):
        _this_thread.makes_none = True


def where_kernels_are_made(run: Callable[[], Made]) -> Made:
    """What `run` gives, in this thread or, where it makes none, in one that is made for it."""
    if not getattr(_this_thread, "makes_none", False):
        return run()
    with ThreadPoolExecutor(1, thread_name_prefix="forward") as pool:
        return pool.submit(run).result()
