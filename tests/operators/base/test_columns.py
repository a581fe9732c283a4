"""Arrow <-> NumPy views of pixels and vectors, and the error columns."""

import numpy as np
import pyarrow as pa
import pytest

from operators.base.arrays import (
    flatten_lists,
    pixels_from_numpy,
    pixels_to_numpy,
    rebuild_lists,
    vectors_from_numpy,
    vectors_to_numpy,
)
from operators.base.errors import ErrorClass, Failure, clean_message
from operators.base.rows import fail_rows


def test_pixels_travel_without_a_copy() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
    array = pixels_from_numpy(pixels, np.ones(5, bool))
    back = pixels_to_numpy(pa.chunked_array([array]), 4, 6)
    assert np.array_equal(back, pixels)
    assert back.__array_interface__["data"][0] == pixels.__array_interface__["data"][0]


def test_a_slice_of_pixels_is_that_slice() -> None:
    pixels = np.arange(6 * 2 * 2 * 3, dtype=np.uint8).reshape(6, 2, 2, 3)
    array = pixels_from_numpy(pixels, np.ones(6, bool))
    assert np.array_equal(pixels_to_numpy(pa.chunked_array([array.slice(2, 3)]), 2, 2), pixels[2:5])
    two = pa.chunked_array([array.slice(0, 1), array.slice(4, 2)])
    assert np.array_equal(pixels_to_numpy(two, 2, 2), pixels[[0, 4, 5]])


def test_rows_without_pixels_are_null_and_refused_as_pixels() -> None:
    valid = np.array([True, False, True] + [True] * 7)
    array = pixels_from_numpy(np.zeros((10, 2, 2, 3), np.uint8), valid)
    assert [v is not None for v in array.to_pylist()] == valid.tolist()
    with pytest.raises(ValueError, match="1 of 10 rows have no pixels"):
        pixels_to_numpy(pa.chunked_array([array]), 2, 2)


def test_pixels_of_another_size_are_refused() -> None:
    array = pixels_from_numpy(np.zeros((1, 2, 2, 3), np.uint8), np.ones(1, bool))
    with pytest.raises(ValueError, match="pixels of 12 bytes, expected 4x4x3"):
        pixels_to_numpy(pa.chunked_array([array]), 4, 4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_vectors_round_trip(dtype: type) -> None:
    vectors = np.random.default_rng(0).normal(size=(4, 3)).astype(dtype)
    array = vectors_from_numpy(vectors)
    assert array.type == pa.list_(pa.field("item", pa.from_numpy_dtype(dtype)), 3)
    assert np.array_equal(vectors_to_numpy(pa.chunked_array([array.slice(1, 2)])), vectors[1:3])
    assert np.array_equal(vectors_to_numpy(pa.chunked_array([array.slice(0, 1), array.slice(2)])), vectors[[0, 2, 3]])


def test_vectors_that_are_not_valid_are_null() -> None:
    array = vectors_from_numpy(np.zeros((3, 2), np.float32), np.array([True, False, True]))
    assert [v is None for v in array.to_pylist()] == [False, True, False]


def lists_of_pixels(counts: list[int]) -> tuple[np.ndarray, pa.ListArray]:
    pixels = np.arange(sum(counts) * 12, dtype=np.uint8).reshape(-1, 2, 2, 3)
    return pixels, rebuild_lists(pixels_from_numpy(pixels, np.ones(len(pixels), bool)), np.array(counts))


def test_lists_are_flattened_without_a_copy_and_rebuilt_as_they_were() -> None:
    pixels, lists = lists_of_pixels([2, 0, 1, 3])
    items, lengths = flatten_lists(pa.chunked_array([lists]))
    flat = pixels_to_numpy(items, 2, 2)
    assert flat.__array_interface__["data"][0] == pixels.__array_interface__["data"][0]
    assert lengths.tolist() == [2, 0, 1, 3]
    assert rebuild_lists(items.chunk(0), lengths).equals(lists)


def test_slices_and_chunks_of_lists_are_those_items() -> None:
    pixels, lists = lists_of_pixels([2, 0, 1, 3])
    items, lengths = flatten_lists(pa.chunked_array([lists.slice(1, 2), lists.slice(3), lists.slice(0, 1)]))
    assert lengths.tolist() == [0, 1, 3, 2]
    assert np.array_equal(pixels_to_numpy(items, 2, 2), pixels[[2, 3, 4, 5, 0, 1]])
    empty, none = flatten_lists(pa.chunked_array([lists.slice(0, 0)]))
    assert (len(empty), len(none)) == (0, 0)


def test_a_row_that_is_not_valid_is_null_and_its_items_are_gone() -> None:
    _, lists = lists_of_pixels([2, 1, 3])
    items, lengths = flatten_lists(pa.chunked_array([lists]))
    rebuilt = rebuild_lists(items.chunk(0), lengths, np.array([True, False, True]))
    assert rebuilt.to_pylist() == [lists[0].as_py(), None, lists[2].as_py()]
    assert len(rebuilt.values) == 5
    with pytest.raises(ValueError, match="1 of 3 rows have no regions"):
        flatten_lists(pa.chunked_array([rebuilt]))


def test_failures_are_written_beside_earlier_ones() -> None:
    names = ("error_stage", "error_class", "error", "error_http_status", "error_attempts")
    kinds = (pa.string(), pa.string(), pa.string(), pa.int16(), pa.int16())
    table = pa.table({n: pa.nulls(3, k) for n, k in zip(names, kinds, strict=True)})
    first = fail_rows(table, {0: Failure(error_class=ErrorClass.NOT_FOUND, message="a", http_status=404)}, "fetch")
    both = fail_rows(first, {2: Failure(error_class=ErrorClass.CORRUPT, message="b", attempts=99999)}, "decode")
    assert both["error_class"].to_pylist() == ["not_found", None, "corrupt"]
    assert both["error_stage"].to_pylist() == ["fetch", None, "decode"]
    assert both["error_attempts"].to_pylist() == [1, None, 32767]


def test_messages_are_one_clean_line() -> None:
    dirty = "first\nsecond\x1b[31m red \u202e backwards\x00"
    assert clean_message(dirty) == "first second [31m red backwards"
    assert len(clean_message("ü" * 1000).encode()) <= 512
    assert Failure(error_class=ErrorClass.TIMEOUT, message="a\nb").message == "a b"
