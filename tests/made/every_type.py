"""A column of every Arrow type, and of each within lists, structs and maps three deep; made by pyarrow alone."""

import datetime
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa

ZONE = "Europe/Berlin"
UNITS = ("s", "ms", "us", "ns")

Make = Callable[[int], pa.Array]
"""An array of so many rows, some of them null."""


def plain(kind: pa.DataType, value: Callable[[int], Any]) -> Make:
    return lambda rows: pa.array([None if i % 4 == 1 else value(i) for i in range(rows)], kind)


def numbers(kind: pa.DataType) -> Make:
    """Of types that are stored as integers."""
    width = {32: pa.int32(), 64: pa.int64()}[kind.bit_width]
    return lambda rows: plain(width, lambda i: i * 86_400_000)(rows).view(kind)


def dictionary(values: pa.DataType, value: Callable[[int], Any]) -> Make:
    return lambda rows: plain(values, value)(rows).dictionary_encode()


def extension(kind: pa.BaseExtensionType, storage: Make) -> Make:
    return lambda rows: pa.ExtensionArray.from_storage(kind, storage(rows))


def run_ends(rows: int) -> pa.Array:
    return pa.RunEndEncodedArray.from_arrays(pa.array(range(1, rows + 1), pa.int32()), SCALARS["string"](rows))


def text(i: int) -> str:
    return f"t\u00e9xt {i}"


def raw(i: int) -> bytes:
    return b"\xff\x00" + bytes([i % 200])


SCALARS: dict[str, Make] = {
    "null": lambda rows: pa.nulls(rows),
    "bool": plain(pa.bool_(), lambda i: i % 3 == 0),
    **{f"int{bits}": plain(getattr(pa, f"int{bits}")(), lambda i: -i) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": plain(getattr(pa, f"uint{bits}")(), lambda i: i) for bits in (8, 16, 32, 64)},
    "float16": plain(pa.float16(), lambda i: np.float16(i / 2)),
    "float32": plain(pa.float32(), lambda i: i / 2),
    "float64": plain(pa.float64(), lambda i: i / 2),
    **{
        f"decimal{bits}": plain(getattr(pa, f"decimal{bits}")(digits, 2), lambda i: Decimal(i) / 4)
        for bits, digits in ((32, 7), (64, 16), (128, 30), (256, 60))
    },
    "string": plain(pa.string(), text),
    "large_string": plain(pa.large_string(), text),
    "string_view": plain(pa.string_view(), text),
    "binary": plain(pa.binary(), raw),
    "large_binary": plain(pa.large_binary(), raw),
    "binary_view": plain(pa.binary_view(), raw),
    "fixed_binary": plain(pa.binary(3), raw),
    "date32": plain(pa.date32(), lambda i: datetime.date(2026, 1, 1 + i % 28)),
    "date64": numbers(pa.date64()),
    "time32_s": plain(pa.time32("s"), lambda i: datetime.time(1, 2, i % 60)),
    "time32_ms": plain(pa.time32("ms"), lambda i: datetime.time(1, 2, i % 60)),
    "time64_us": plain(pa.time64("us"), lambda i: datetime.time(1, 2, i % 60)),
    "time64_ns": plain(pa.time64("ns"), lambda i: datetime.time(1, 2, i % 60)),
    **{f"timestamp_{unit}": numbers(pa.timestamp(unit)) for unit in UNITS},
    **{f"timestamp_{unit}_zone": numbers(pa.timestamp(unit, ZONE)) for unit in UNITS},
    **{f"duration_{unit}": numbers(pa.duration(unit)) for unit in UNITS},
    "interval": plain(pa.month_day_nano_interval(), lambda i: pa.MonthDayNano([i, 1, 1])),
    "dictionary": dictionary(pa.string(), lambda i: text(i % 3)),
    "dictionary_binary": dictionary(pa.binary(), lambda i: raw(i % 3)),
    "run_end_encoded": run_ends,
    "uuid": extension(pa.uuid(), plain(pa.binary(16), lambda i: bytes([i % 200]) * 16)),
    "json": extension(pa.json_(), plain(pa.string(), lambda i: f'{{"a":  {i}}}')),
    "no_json": extension(pa.json_(), plain(pa.string(), text)),
    "bool8": extension(pa.bool8(), plain(pa.int8(), lambda i: i % 2)),
}


def mask(rows: int) -> pa.Array:
    """Every third is null."""
    return pa.array([i % 3 == 2 for i in range(rows)])


def offsets(rows: int, kind: pa.DataType) -> pa.Array:
    """Of as many lists as items: one with the first two (of more than three), a null one, and one for each other."""
    starts = [0, 2, None, *range(2, rows)] if rows > 3 else list(range(rows))
    return pa.array([*starts[:rows], rows], kind)


WRAPPERS: dict[str, Callable[[Make], Make]] = {
    "list": lambda make: lambda rows: pa.ListArray.from_arrays(offsets(rows, pa.int32()), make(rows)),
    "large_list": lambda make: lambda rows: pa.LargeListArray.from_arrays(offsets(rows, pa.int64()), make(rows)),
    "fixed_size_list": lambda make: lambda rows: pa.FixedSizeListArray.from_arrays(make(2 * rows), 2, mask=mask(rows)),
    "struct": lambda make: (
        lambda rows: pa.StructArray.from_arrays([make(rows), pa.array(range(rows))], ["a", "b"], mask=mask(rows))
    ),
    "map": lambda make: (
        lambda rows: pa.MapArray.from_arrays(
            offsets(rows, pa.int32()), pa.array([f"k{i}" for i in range(rows)]), make(rows)
        )
    ),
}


def nested(scalar: str, wrappers: tuple[str, ...]) -> Make:
    make = SCALARS[scalar]
    for wrapper in reversed(wrappers):
        make = WRAPPERS[wrapper](make)
    return make


def every(depth: int, scalars: tuple[str, ...] = tuple(SCALARS)) -> Iterator[tuple[str, Make]]:
    """`list-struct-int32` and how to make it, for each of the scalars within so many wrappers."""
    for scalar in scalars:
        for wrappers in product(WRAPPERS, repeat=depth):
            yield "-".join((*wrappers, scalar)), nested(scalar, wrappers)
