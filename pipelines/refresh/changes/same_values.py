"""Which rows of two columns hold the same value, whatever their type; nulls and NaN are the same as themselves."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def same_values(first: pa.Array, second: pa.Array) -> np.ndarray:
    """(N,) bool for two arrays of one type and length."""
    if isinstance(first, pa.ExtensionArray):
        return same_values(first.storage, second.storage)
    if pa.types.is_dictionary(first.type):
        return same_values(first.dictionary_decode(), second.dictionary_decode())
    if pa.types.is_null(first.type):
        return np.ones(len(first), bool)
    valid, other_valid = _bools(first.is_valid()), _bools(second.is_valid())
    both: np.ndarray = valid & other_valid
    same: np.ndarray = valid == other_valid
    if pa.types.is_struct(first.type):
        for at in range(first.type.num_fields):
            same &= ~both | same_values(pc.struct_field(first, [at]), pc.struct_field(second, [at]))
        return same
    if pa.types.is_nested(first.type):
        same[both] = _same_lists(first.filter(pa.array(both)), second.filter(pa.array(both)))
        return same
    if pa.types.is_float16(first.type):
        # pyarrow compares no half floats.
        return same_values(first.cast(pa.float32()), second.cast(pa.float32()))
    equal = _bools(pc.fill_null(pc.equal(first, second), True))
    if pa.types.is_floating(first.type):
        equal |= _bools(pc.fill_null(pc.and_(pc.is_nan(first), pc.is_nan(second)), False))
    same &= equal
    return same


def _same_lists(first: pa.Array, second: pa.Array) -> np.ndarray:
    """(N,) bool for two arrays of lists or maps without nulls."""
    (items, lengths), (other_items, other_lengths) = _items(first), _items(second)
    same: np.ndarray = lengths == other_lengths
    owners, others = np.repeat(np.arange(len(lengths)), lengths), np.repeat(np.arange(len(lengths)), other_lengths)
    items, other_items = items.filter(pa.array(same[owners])), other_items.filter(pa.array(same[others]))
    wrong = owners[same[owners]][~same_values(items, other_items)]
    same[wrong] = False
    return same


def _items(lists: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """(all items, one list after the other; how many each list has)."""
    if pa.types.is_fixed_size_list(lists.type):
        return lists.flatten(), np.full(len(lists), lists.type.list_size)
    if pa.types.is_map(lists.type):
        entries = pa.struct([("key", lists.type.key_type), ("value", lists.type.item_type)])
        lists = lists.cast(pa.list_(entries))
    return lists.flatten(), pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)


def _bools(array: pa.Array) -> np.ndarray:
    found: np.ndarray = array.to_numpy(zero_copy_only=False).astype(bool)
    return found
