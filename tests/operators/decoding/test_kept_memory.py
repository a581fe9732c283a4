import gc

import numpy as np
import pyarrow as pa

from operators.base.arrays import pixels_from_numpy
from operators.decoding.kept_memory import LEAST_BYTES, KeptMemory

ROW = 1 << 20
U8 = np.dtype(np.uint8)


def made(memory: KeptMemory, rows: int, value: int) -> np.ndarray:
    array = memory.empty((rows, ROW), U8)
    array[:] = value
    return array


def place(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_once_nobody_holds_an_array_or_what_is_made_over_it() -> None:
    memory = KeptMemory()
    first = made(memory, 8, 1)
    at = place(first)
    view = first[:4].reshape(4, 1024, 1024)[1:]
    del first
    other = made(memory, 8, 2)
    assert place(other) != at
    assert (view == 1).all()
    column = pixels_from_numpy(view, np.ones(3, bool))
    table = pa.table({"pixels": column}).slice(1)
    del view, column
    assert place(made(memory, 8, 3)) != at
    assert set(table["pixels"][1].as_py()) == {1}
    del other, table
    gc.collect()
    assert place(made(memory, 8, 4)) == at


def test_as_much_is_kept_as_one_array_takes_and_no_small_or_far_too_large_one_is_put_there() -> None:
    memory = KeptMemory()
    one, two = made(memory, 8, 1), made(memory, 8, 2)
    places = place(one), place(two)
    del one, two
    again, fresh = made(memory, 8, 3), made(memory, 8, 4)
    assert place(again) == places[1]
    assert place(fresh) != places[1]
    del again, fresh
    assert len(memory.empty((LEAST_BYTES // ROW - 1, ROW), U8)) == LEAST_BYTES // ROW - 1
    large = made(memory, 30, 5)
    at = place(large)
    del large
    assert place(made(memory, 10, 6)) != at


def test_parts_of_a_block_that_differ_in_size_use_the_same_memory_in_turn() -> None:
    memory = KeptMemory()
    large = made(memory, 10, 1)
    del large
    places = set()
    for rows in (8, 10, 8, 10):
        small = made(memory, rows, 2)
        places.add(place(small))
        del small
    assert len(places) == 1
    # Where all memory is held, what is made anew for a smaller part does for the larger ones too.
    held = made(memory, 10, 1)
    small = made(memory, 8, 3)
    at = place(small)
    del small
    assert place(made(memory, 10, 4)) == at
    assert len(held) == 10
