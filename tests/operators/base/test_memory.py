"""A want of memory is known by what libraries really raise, and halving loses nothing but what does not fit alone."""

import numpy as np
import pytest
import torch

from operators.base.memory import in_parts, is_out_of_memory


def test_what_libraries_raise_is_known() -> None:
    with pytest.raises(RuntimeError) as by_torch:
        torch.empty(1 << 60, dtype=torch.uint8)
    with pytest.raises(MemoryError) as by_numpy:
        np.empty(1 << 60, np.uint8)
    assert is_out_of_memory(by_torch.value), by_torch.value
    assert is_out_of_memory(by_numpy.value)
    assert is_out_of_memory(torch.OutOfMemoryError())
    assert is_out_of_memory(RuntimeError("Traceback ...\ntorch.OutOfMemoryError"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    # As a ResNet's convolution says it where 20 MiB are left: test_embedder's real network has it happen.
    assert is_out_of_memory(RuntimeError("could not create a primitive"))


@pytest.mark.parametrize(
    "error", [ValueError("out of memory"), RuntimeError("mat1 and mat2 shapes differ"), KeyError()]
)
def test_other_errors_are_none(error: Exception) -> None:
    assert not is_out_of_memory(error)


class Room:
    """Takes up to `most` at a time, and those of `never` not even alone."""

    def __init__(self, most: int, never: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        self.most, self.never = most, never
        self.tried: list[tuple[int, int]] = []

    def __call__(self, part: slice) -> list[int]:
        self.tried.append((part.start, part.stop))
        numbers = list(range(part.start, part.stop))
        if len(numbers) > self.most or self.never & set(numbers):
            raise MemoryError(f"first line\nno room for {numbers}")
        return numbers


def test_what_fits_is_run_once() -> None:
    room = Room(8)
    assert in_parts(room, 8) == ([(slice(0, 8), list(range(8)))], {})
    assert room.tried == [(0, 8)]


def test_what_does_not_is_halved_and_comes_in_order() -> None:
    parts, failed = in_parts(Room(2), 7)
    assert [number for _, numbers in parts for number in numbers] == list(range(7))
    assert max(len(numbers) for _, numbers in parts) == 2
    assert failed == {}


def test_what_does_not_fit_alone_fails_alone() -> None:
    parts, failed = in_parts(Room(100, {3, 9}), 10)
    assert [number for _, numbers in parts for number in numbers] == [0, 1, 2, 4, 5, 6, 7, 8]
    assert failed == {3: "no room for [3]", 9: "no room for [9]"}


def test_other_errors_are_raised() -> None:
    def run(part: slice) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes"):
        in_parts(run, 4)
