"""Text columns of files that others wrote: any of Arrow's string types, and bytes that may not be UTF-8."""

import pyarrow as pa


def is_text(kind: pa.DataType) -> bool:
    """Strings of all three types, dictionaries of them, and plain binary, which old Parquet writers use for strings."""
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
    """The array as valid strings, and the indices of values that were not UTF-8: in them `U+FFFD` marks what was not.

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
