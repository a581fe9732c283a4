"""What counts as an id, and its text: a stated list of types, and for different values always different texts."""

import json
import uuid
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.manifests.columns.texts import encodes
from pipelines.manifests.kept_types import to_text

ID_TYPES = (
    "ids are text, integers, dates, times, timestamps, decimals without a fraction, UUIDs, bytes, or floats of which "
    "every one is whole"
)
_EXACT_BITS = {16: 11, 32: 24, 64: 53}
"""Width of a float -> below which power of two each whole number has a float of its own (IEEE 754)."""


class IdError(ValueError):
    """No id; the message says what was there instead."""


def id_kind(kind: pa.DataType) -> str | None:
    """What the ids of a column are: `text`, `number`, `date`, `time`, `timestamp`, `timestamp with zone`, `UUID` or
    `bytes`; None for a column of nulls. The same value has one text in all types of one kind.

    Raises `IdError` for a type that holds no ids.
    """
    if pa.types.is_dictionary(kind):
        return id_kind(kind.value_type)
    if pa.types.is_null(kind):
        return None
    if pa.types.is_decimal(kind) and kind.scale:
        raise IdError(f"{kind}, with {kind.scale} digits behind the point; {ID_TYPES}")
    if pa.types.is_timestamp(kind):
        return "timestamp with zone" if kind.tz else "timestamp"
    for name, tests in _KINDS.items():
        if any(test(kind) for test in tests):
            return name
    raise IdError(f"{kind}; {ID_TYPES}")


def id_texts(array: pa.Array) -> tuple[pa.Array, list[int]]:
    """The ids as strings, and the indices of texts that are not UTF-8, which are no ids.

    Integers and whole numbers are digits, dates and times are ISO 8601, timestamps with a zone are in UTC and end in
    `Z`, a fraction of a second has no zeros at its end, a UUID is in its canonical form, other bytes are in hex. Raises
    `IdError` for a float that is not whole, and for a type that holds no ids.
    """
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = id_kind(array.type)
    if kind == "text":
        return to_text(array)
    if kind in ("bytes", "UUID"):
        return pa.array([_hex(value) for value in array.to_pylist()], pa.string()), []
    if pa.types.is_floating(array.type):
        array = _whole(array)
    if kind in ("timestamp", "timestamp with zone"):
        array = _timestamps(array)
    texts = array.cast(pa.string())
    return (_short(texts) if kind in ("time", "timestamp", "timestamp with zone") else texts), []


def is_rewritten(kind: pa.DataType) -> bool:
    """Whether an id of the type may have had another text while Pixlake took what Arrow casts to text."""
    if pa.types.is_dictionary(kind):
        return is_rewritten(kind.value_type)
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_floating, pa.types.is_timestamp)
    return any(test(kind) for test in tests)


def former_texts(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """What Arrow's cast made of the same ids of the type: bytes were read as UTF-8, and a float could be `1e+12`.
    Without those that have not changed."""
    if pa.types.is_dictionary(kind):
        return former_texts(texts, kind.value_type)
    former = texts.slice(0, 0)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        given = texts.filter(pc.match_substring_regex(texts, "^([0-9a-f]{2})*$"))
        former = pa.array([bytes.fromhex(text).decode("utf-8", "replace") for text in given.to_pylist()], pa.string())
    elif pa.types.is_floating(kind):
        former = texts.filter(pc.match_substring_regex(texts, r"^-?\d{1,16}$")).cast(kind).cast(pa.string())
    elif pa.types.is_timestamp(kind):
        former = texts.filter(pc.match_substring_regex(texts, r"^\d{4}-\d\d-\d\dT")).cast(kind).cast(pa.string())
    return former.filter(pc.invert(pc.is_in(former, value_set=texts)))


def json_id(value: object) -> str | None:
    """The id of a value in JSON: a string as it is, digits of a whole number. Raises `IdError` for any other value."""
    if isinstance(value, str) and not encodes(value):
        raise IdError("text that is not valid Unicode")
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2 ** _EXACT_BITS[64]:
        return str(int(value))
    raise IdError(f"{json.dumps(value)[:60]}; an id in JSON is a string, or a whole number")


def _hex(value: bytes | uuid.UUID | None) -> str | None:
    return None if value is None else value.hex() if isinstance(value, bytes) else str(value)


def _whole(array: pa.Array) -> pa.Array:
    """Floats as int64. pandas makes floats of integers where one of them is null."""
    below = 2 ** _EXACT_BITS[array.type.bit_width]
    values = array.cast(pa.float64())
    good = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), float(below)))
    bad = pc.indices_nonzero(pc.invert(pc.fill_null(good, True)))
    if len(bad):
        raise IdError(f"{values[bad[0].as_py()].as_py()!r}, which is no whole number below {below:,} as {array.type}")
    return values.cast(pa.int64())


def _timestamps(array: pa.Array) -> pa.Array:
    # A cast to no zone keeps the instant, in UTC; the zone that a file names is how to show it.
    texts = pc.replace_substring(array.cast(pa.timestamp(array.type.unit)).cast(pa.string()), " ", "T")
    return texts if array.type.tz is None else pc.binary_join_element_wise(texts, "Z", "")


def _short(texts: pa.Array) -> pa.Array:
    """Without zeros at the end of a fraction: files of another unit give the same ids."""
    texts = pc.replace_substring_regex(texts, r"(\.\d*[1-9])0+(Z?)$", r"\1\2")
    return pc.replace_substring_regex(texts, r"\.0+(Z?)$", r"\1")


_KINDS: dict[str, tuple[Callable[[pa.DataType], bool], ...]] = {
    "text": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
    "number": (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal),
    "date": (pa.types.is_date,),
    "time": (pa.types.is_time,),
    "UUID": (lambda kind: kind == pa.uuid(),),
    "bytes": (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    ),
}
