"""Filters that an index is asked before it counts, made from values of its column: SQL, whatever the column's type."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.scan.sql import sql_column, sql_text

_UNITS = {"s": "Second", "ms": "Millisecond", "us": "Microsecond", "ns": "Nanosecond"}
_COMPARED = ("=", "<>", "<", "<=", ">", ">=")
_PLACES = (0, 0.25, 0.5, 0.75, 1)
"""Quantiles of the drawn values at which the compared values are picked."""


def filter_questions(column: str, kind: pa.DataType, drawn: pa.ChunkedArray | pa.Array) -> list[str]:
    """At most about 60 conditions on the column. `drawn` are some of its values.

    Equal, unequal, less, greater, between, IN, IS NULL, and the NOT of each; of texts LIKE and its kin, of floats NaN
    and infinity, of booleans IS TRUE and its kin, of lists `array_has` and its kin. At the least and the greatest
    value, where whole zones and pages of an index begin and end, without the NOT.
    """
    name = sql_column(column)
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    asked, ends = [f"{name} IS NULL", f"{name} IS NOT NULL"], list[str]()
    if pa.types.is_boolean(kind):
        asked += _about_truth(name)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        asked += _about_lists(name, [] if pa.types.is_nested(kind.value_type) else spread(pc.list_flatten(drawn)))
    elif not pa.types.is_nested(kind):
        values = [text for each in spread(drawn) if (text := sql_literal(each)) is not None]
        if values:
            asked += _about_order(name, values)
            ends += [f"{name} {compared} {value}" for value in (values[0], values[-1]) for compared in _COMPARED]
        if pa.types.is_floating(kind):
            asked += _about_floats(name, kind, values[len(values) // 2 :][:1])
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            asked += _about_texts(name, [each.as_py() for each in spread(drawn)])
    both = [each for question in asked for each in (question, f"NOT ({question})")]
    return list(dict.fromkeys([*both, *ends]))


def rare_questions(column: str, kind: pa.DataType) -> list[str]:
    """Conditions that few rows fulfil, wherever they are: the few that are asked of the whole of a large table."""
    name = sql_column(column)
    return [f"{name} IS NULL", *(_about_no_numbers(name, kind) if pa.types.is_floating(kind) else ())]


def _about_truth(name: str) -> Iterator[str]:
    yield name
    for test in ("IS TRUE", "IS NOT TRUE", "IS FALSE", "IS NOT FALSE", "IN (true)", "IN (true, false)"):
        yield f"{name} {test}"
    for compared in _COMPARED:
        yield f"{name} {compared} true"
        yield f"{name} {compared} false"


def _about_order(name: str, values: Sequence[str]) -> Iterator[str]:
    low, middle, high = values[0], values[len(values) // 2], values[-1]
    yield from (f"{name} {compared} {middle}" for compared in _COMPARED)
    second, fourth = values[len(values) // 4], values[-1 - len(values) // 4]
    yield f"{name} BETWEEN {second} AND {fourth}"
    yield f"{name} NOT BETWEEN {second} AND {fourth}"
    yield f"{name} IN ({', '.join(values)})"
    yield f"{name} NOT IN ({second}, {middle})"
    yield f"{name} = {middle} OR {name} IS NULL"
    yield f"{name} > {low} AND {name} < {high}"


def _about_floats(name: str, kind: pa.DataType, middle: Sequence[str]) -> Iterator[str]:
    yield from _about_no_numbers(name, kind)
    nan = _named_float("NaN", kind)
    yield f"{name} < {nan}"
    yield f"{name} >= {nan}"
    yield f"{name} >= {_named_float('-Infinity', kind)}"
    yield f"{name} = 0.0"
    yield f"{name} IN ({', '.join([*middle, nan])})"


def _about_no_numbers(name: str, kind: pa.DataType) -> Iterator[str]:
    """Conditions on NaN and infinity: NaN is greater than every number, and less where its sign bit is set."""
    yield f"isnan({name})"
    yield f"{name} = {_named_float('NaN', kind)}"
    yield f"{name} > {_named_float('Infinity', kind)}"
    yield f"{name} < {_named_float('-Infinity', kind)}"


def _named_float(text: str, kind: pa.DataType) -> str:
    return f"arrow_cast('{text}', '{_number(kind)}')"


def _about_texts(name: str, texts: Sequence[str]) -> Iterator[str]:
    long = max(texts, key=len, default="")
    plain = "".join(each for each in long if each.isalnum())
    # Lance knows no escape in a pattern, so it holds letters and digits alone.
    start, within = plain[: max(1, len(plain) // 2)], plain[len(plain) // 3 :][:4]
    for pattern in dict.fromkeys((f"{start}%", f"%{within}%", f"%{plain[-2:]}", "%")):
        yield f"{name} LIKE {sql_text(pattern)}"
    yield f"{name} ILIKE {sql_text(f'%{within.upper()}%')}"
    yield f"starts_with({name}, {sql_text(long[: max(1, len(long) // 2)])})"
    yield f"contains({name}, {sql_text(long[len(long) // 3 :][:4])})"
    yield f"contains({name}, {sql_text(long)})"
    yield f"{name} = {sql_text(long + '?')}"


def _about_lists(name: str, values: Sequence[pa.Scalar]) -> Iterator[str]:
    # An exact literal: an index on a list of int32 is passed over where a plain 1, an int64, is looked for.
    elements = [text for each in values if (text := exact_literal(each)) is not None]
    if not elements:
        return
    several = ", ".join(dict.fromkeys((elements[0], elements[-1])))
    for element in dict.fromkeys((elements[0], elements[len(elements) // 2], elements[-1])):
        yield f"array_has({name}, {element})"
    yield f"array_contains({name}, {elements[0]})"
    yield f"array_has_any({name}, [{several}])"
    yield f"array_has_all({name}, [{several}])"
    yield f"array_has_any({name}, [{', '.join(elements)}])"
    yield f"array_has_all({name}, [{', '.join(elements)}])"
    yield f"array_has({name}, {elements[0]}) OR {name} IS NULL"
    yield f"array_has({name}, {elements[0]}) IS NULL"


def spread(drawn: pa.ChunkedArray | pa.Array) -> list[pa.Scalar]:
    """Up to five different values, the least and the greatest among them; no null, no NaN."""
    kind = drawn.type
    values = pc.unique(drawn.cast(kind.value_type) if pa.types.is_dictionary(kind) else drawn).drop_null()
    if pa.types.is_floating(values.type):
        values = values.filter(pc.invert(pc.is_nan(values)))
    if not len(values):
        return []
    # Nothing orders booleans, and types that pyarrow cannot sort keep the order in which they were drawn.
    with suppress(pa.ArrowNotImplementedError):
        values = values.take(pc.sort_indices(values))
    at = dict.fromkeys(round(place * (len(values) - 1)) for place in _PLACES)
    return [values[each] for each in at]


def sql_literal(value: pa.Scalar) -> str | None:
    """The literal as a user would write it, where there is such a form; None for a value without any literal."""
    kind = value.type
    if pa.types.is_integer(kind):
        return str(value.as_py())
    if pa.types.is_floating(kind):
        number = float(value.as_py())
        return repr(number) if math.isfinite(number) else _named_float("-Infinity" if number < 0 else "Infinity", kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return sql_text(value.as_py())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return f"X'{value.as_py().hex()}'"
    return exact_literal(value)


def exact_literal(value: pa.Scalar) -> str | None:
    """A literal of exactly the value's type; None for a value without any."""
    kind = value.type
    if pa.types.is_string(kind) or kind in (pa.int64(), pa.float64()):
        return sql_literal(value)
    if pa.types.is_boolean(kind):
        return str(value.as_py()).lower()
    if pa.types.is_decimal(kind):
        return f"arrow_cast('{value.as_py()}', 'Decimal{kind.bit_width}({kind.precision}, {kind.scale})')"
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return f"arrow_cast({value.value}, '{_temporal(kind)}')"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return f"arrow_cast({sql_literal(value)}, '{_number(kind)}')"
    if pa.types.is_large_string(kind):
        return f"arrow_cast({sql_text(value.as_py())}, 'LargeUtf8')"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return sql_literal(value)
    return None


def _number(kind: pa.DataType) -> str:
    names = {pa.float16(): "Float16", pa.float32(): "Float32", pa.float64(): "Float64"}
    return names.get(kind) or str(kind).replace("uint", "UInt").replace("int", "Int")


def _temporal(kind: pa.DataType) -> str:
    if pa.types.is_date(kind):
        return f"Date{kind.bit_width}"
    if pa.types.is_timestamp(kind):
        zone = "None" if kind.tz is None else f'Some("{kind.tz}")'
        return f"Timestamp({_UNITS[kind.unit]}, {zone})"
    family = "Duration" if pa.types.is_duration(kind) else f"Time{kind.bit_width}"
    return f"{family}({_UNITS[kind.unit]})"
