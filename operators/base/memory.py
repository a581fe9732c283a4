"""Memory that does not suffice: how libraries say so, and a batch that is halved until it fits."""

from collections.abc import Callable
from typing import TypeVar

Given = TypeVar("Given")

NO_KERNEL = "could not create a primitive"
"""What oneDNN says of a kernel; torch 2.15 leaves out why, and other reasons than memory read the same."""

_WORDS = (
    "out of memory",  # CUDA
    "cannot allocate memory",  # ENOMEM
    "can't allocate memory",  # torch 2.15's CPU allocator, whose words may be cut short before its ENOMEM
    NO_KERNEL,
    "bad_alloc",
    "bad allocation",
    "alloc_failed",  # cuBLAS and cuDNN
    "memoryerror",  # by its name alone: torch's and Python's, in what a process says of its end too
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice, on a device or here, whichever library raises it."""
    said = f"{type(error).__name__}: {error}".lower()
    return isinstance(error, MemoryError | RuntimeError | OSError) and any(words in said for words in _WORDS)


def in_parts(run: Callable[[slice], Given], count: int) -> tuple[list[tuple[slice, Given]], dict[int, str]]:
    """`run` over all of `count`, at least one. Where memory does not suffice it is run on each half, down to one.

    Gives what each run gave with what it was of, in order; and index -> the last line of the error, of those that do
    not fit alone. Other errors are raised.
    """
    done: list[tuple[slice, Given]] = []
    failed: dict[int, str] = {}
    waiting = [slice(0, count)]
    while waiting:
        part = waiting.pop()
        try:
            done.append((part, run(part)))
            continue
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            words = _last_line(error)
        # Not in the handler: there the traceback still holds the memory of what failed.
        middle = (part.start + part.stop) // 2
        if middle == part.start:
            failed[part.start] = words
        else:
            waiting += [slice(middle, part.stop), slice(part.start, middle)]
    return done, failed


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
