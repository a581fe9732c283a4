"""Columns of bytes: into Arrow with one copy, out of it without any."""

import pyarrow as pa
import pytest

from operators.base.arrays import binary_in_place, binary_views, large_binary


@pytest.mark.parametrize("values", [[], [None], [b""], [b"a", None, b"", b"bcd" * 1000], [b"x"] * 20, [None] * 9])
def test_bytes_into_arrow_are_what_arrow_makes_of_them(values: list[bytes | None]) -> None:
    made = large_binary(values)
    made.validate(full=True)
    assert made.equals(pa.array(values, pa.large_binary()))


def test_one_value_lies_where_it_was() -> None:
    value = b"x" * 100_000
    made = binary_in_place([value])
    made.validate(full=True)
    assert made.equals(pa.array([value], pa.large_binary()))
    assert made.buffers()[2].address == pa.py_buffer(value).address


def test_values_that_lie_one_behind_the_other_stay_where_they_are() -> None:
    piece = memoryview(bytearray(b"abcdefgh" * 1000))
    values = [piece[100:300], piece[300:300], piece[300:4000]]
    made = binary_in_place(values)
    made.validate(full=True)
    assert made.to_pylist() == [bytes(value) for value in values]
    assert made.buffers()[2].address == pa.py_buffer(piece).address + 100
    assert made.buffers()[2].size == 3900, "and not the whole piece, which would travel with it"


def test_views_of_a_sliced_and_chunked_column() -> None:
    values = [b"a", None, b"", b"bcd", b"ef"]
    whole = pa.array(values, pa.large_binary())
    column = pa.chunked_array([whole.slice(1, 3), whole.slice(0, 0), whole.slice(4), pa.array([None], whole.type)])
    assert [bytes(view) for view in binary_views(column)] == [b"", b"", b"bcd", b"ef", b""]
    assert binary_views(pa.chunked_array([], pa.large_binary())) == []


def test_a_view_outlives_its_column() -> None:
    [view] = binary_views(pa.chunked_array([pa.array([b"z" * 100_000], pa.large_binary())]))
    assert bytes(view) == b"z" * 100_000
