"""Arrow types of kept columns, and what the table stores for each: the type itself, an equivalent one, or none.

Each was tried with Lance 13 in a list, a struct and a map, with two batches and a compaction: most types come back as
they were. A fixed-size list of texts, lists, structs or maps is written and committed, and then no reader can read it.
"""

import pyarrow as pa

_PLAIN = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal128,
    pa.types.is_decimal256,
    pa.types.is_fixed_size_binary,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_timestamp,
    pa.types.is_duration,
)
"""Tests for types of a fixed width, which may also lie in a fixed-size list."""

_OF_ANY_LENGTH = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
)


class KeptTypeError(ValueError):
    """No column of the type can be kept; the message says what is wrong and what to write instead."""


def stored_column_type(kind: pa.DataType) -> pa.DataType:
    """The type of the table's column. A dictionary becomes its values and every string type `string`: files differ in
    these by accident. Raises `KeptTypeError`."""
    if pa.types.is_dictionary(kind):
        return stored_column_type(kind.value_type)
    if is_text(kind) and not pa.types.is_binary(kind) and not pa.types.is_large_binary(kind):
        return pa.string()
    if pa.types.is_null(kind):
        return kind
    return stored_type(kind)


def stored_type(kind: pa.DataType) -> pa.DataType:
    """The stored type of a column or of what lies in one: the same where Lance can hold it. Raises `KeptTypeError`."""
    if any(test(kind) for test in (*_PLAIN, *_OF_ANY_LENGTH)):
        return kind
    if pa.types.is_null(kind):
        # Below the top pyarrow makes invalid arrays of it when rows are left out, and Lance takes no null struct of it.
        return pa.string()
    if isinstance(kind, pa.BaseExtensionType):
        return _stored_extension(kind)
    if pa.types.is_decimal(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if kind in (pa.string_view(), pa.binary_view()):
        return pa.string() if kind == pa.string_view() else pa.binary()
    if pa.types.is_dictionary(kind):
        value = stored_type(kind.value_type)
        return kind if value == kind.value_type else value
    if pa.types.is_struct(kind):
        return _stored_struct(kind)
    if pa.types.is_map(kind):
        key, item = kind.key_field, kind.item_field
        return pa.map_(key.with_type(stored_type(key.type)), item.with_type(stored_type(item.type)), kind.keys_sorted)
    if pa.types.is_fixed_size_list(kind):
        return _stored_fixed(kind)
    if pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind):
        return pa.large_list(_stored_item(kind))
    if pa.types.is_list(kind) or pa.types.is_list_view(kind):
        return pa.list_(_stored_item(kind))
    raise KeptTypeError(f"Lance has no {kind}; write it as another type")


def _stored_item(kind: pa.DataType) -> pa.Field:
    return kind.value_field.with_type(stored_type(kind.value_type))


def _stored_extension(kind: pa.BaseExtensionType) -> pa.DataType:
    """The type that the extension is made of, where Lance would change the values: invalid JSON ends a write."""
    storage = stored_type(kind.storage_type)
    return storage if kind.extension_name == "arrow.json" or storage != kind.storage_type else kind


def _stored_struct(kind: pa.StructType) -> pa.DataType:
    names = [field.name for field in kind]
    if not names:
        raise KeptTypeError("a struct without fields cannot be stored; leave it out")
    for name in names:
        if names.count(name) > 1:
            raise KeptTypeError(f"it has two fields {name!r}; give each a name of its own")
        if "\0" in name:
            raise KeptTypeError(f"Lance cannot read its field {name!r}; give it another name")
    return pa.struct([field.with_type(stored_type(field.type)) for field in kind])


def _stored_fixed(kind: pa.FixedSizeListType) -> pa.DataType:
    if not kind.list_size:
        raise KeptTypeError("its lists have the fixed size 0; leave it out, or write lists of any size")
    item = _stored_item(kind)
    fixed = any(test(item.type) for test in _PLAIN) or pa.types.is_fixed_size_list(item.type)
    return pa.list_(item, kind.list_size) if fixed else pa.list_(item)


def is_text(kind: pa.DataType) -> bool:
    """Whether the type holds text: all three string types, dictionaries of them, and plain binary, which old Parquet
    writers use for strings."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    tests = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_binary,
        pa.types.is_large_binary,
    )
    return any(test(kind) for test in tests)


def to_text(array: pa.Array) -> tuple[pa.Array, list[int]]:
    """The array as valid strings, and the indices of values that were not UTF-8, where `U+FFFD` replaces the bad bytes.

    Parquet readers trust the file: without this check the first `to_pylist` would raise for the whole batch.
    """
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.type != pa.string():
        array = array.cast(pa.string(), safe=not is_text(array.type))
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        raw = array.cast(pa.binary()).to_pylist()
    else:
        return array, []
    texts = [None if value is None else str(value, "utf-8", "replace") for value in raw]
    broken = [i for i, text in enumerate(texts) if text is not None and text.encode() != raw[i]]
    return pa.array(texts, pa.string()), broken
