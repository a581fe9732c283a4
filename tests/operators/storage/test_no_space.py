"""Which errors say that a disk is full, however deep in their causes and whoever words them."""

import errno

import pytest

from operators.storage.no_space import is_no_space


class OutOfDiskError(RuntimeError):
    """As Ray names it."""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "x"),
        OSError(errno.EDQUOT, "x"),
        OSError("LanceError(IO): Generic LocalFileSystem error: No space left on device (os error 28)"),
        OutOfDiskError("Local disk is full"),
        RuntimeError("ray.exceptions.RayTaskError: OSError: [Errno 28] No space left on device"),
    ],
)
def test_a_full_disk_is_known(error: Exception) -> None:
    assert is_no_space(error)
    outer = ValueError("a wave failed")
    outer.__cause__ = error
    assert is_no_space(outer)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "x"), OSError("no route to host"), ValueError("device")])
def test_nothing_else_is_taken_for_one(error: Exception) -> None:
    assert not is_no_space(error)
