"""Values of every type that a table holds, as Python and as JSON."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.reports.shown_values import json_ready
from pipelines.scan.python_rows import python_rows

DAYS, FAR = pa.date32(), 2**60


def stored(number: int, kind: pa.DataType) -> pa.Array:
    """An array of one value, as the number that Arrow stores of it."""
    return pa.array([number], pa.int32() if kind.bit_width == 32 else pa.int64()).view(kind)


CASES = {
    "int64": (pa.array([2**63 - 1]), 2**63 - 1),
    "a half that is no number": (pa.array([np.float16("nan")]), "NaN"),
    "infinity": (pa.array([float("inf")]), "Infinity"),
    "minus infinity": (pa.array([float("-inf")], pa.float32()), "-Infinity"),
    "bytes": (pa.array([b"\xff\x00"]), "/wA="),
    "fixed-size bytes": (pa.array([b"\xff\x00"], pa.binary(2)), "/wA="),
    "text that is not UTF-8": (pa.array([b"a\xff"]).view(pa.string()), "a\ufffd"),
    "decimal": (pa.array([150], pa.decimal128(20, 2)), "150.00"),
    "date": (stored(1, DAYS), "1970-01-02"),
    "a date that Python has not": (stored(2**30, DAYS), str(2**30)),
    "time": (stored(1_500_000, pa.time64("us")), "00:00:01.500000"),
    "nanoseconds": (stored(1, pa.timestamp("ns")), "1970-01-01T00:00:00.000000001"),
    "a zone": (stored(0, pa.timestamp("s", "Europe/Berlin")), "1970-01-01T01:00:00+01:00"),
    "a zone that is nowhere": (stored(0, pa.timestamp("s", "No/Where")), "1970-01-01T00:00:00Z"),
    "a year that Python has not": (stored(FAR, pa.timestamp("us", "UTC")), str(FAR)),
    "duration": (stored(-1_500, pa.duration("ms")), "-PT1.5S"),
    "a duration in nanoseconds": (stored(1, pa.duration("ns")), "PT0.000000001S"),
    "a duration that Python has not": (stored(FAR, pa.duration("s")), str(FAR)),
    "map": (pa.array([[(b"k", 1.5)]], pa.map_(pa.binary(), pa.float32())), [["aw==", 1.5]]),
    "dictionary": (pa.array(["a"]).dictionary_encode(), "a"),
    "uuid": (
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"\1" * 16], pa.binary(16))),
        "01010101-0101-0101-0101-" + "01" * 6,
    ),
    "bool8": (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1], pa.int8())), True),
    "null": (pa.nulls(1), None),
}


@pytest.mark.parametrize("name", CASES)
def test_a_value_and_one_within_a_list_a_struct_and_a_map(name: str) -> None:
    array, expected = CASES[name]
    nested = {
        "plain": (array, expected),
        "list": (pa.ListArray.from_arrays([0, 1], array), [expected]),
        "struct": (pa.StructArray.from_arrays([array], ["a"]), {"a": expected}),
        "map": (pa.MapArray.from_arrays([0, 1], pa.array(["k"]), array), [["k", expected]]),
    }
    [row] = python_rows(pa.table({key: values for key, (values, _) in nested.items()}))
    shown: dict[str, Any] = json.loads(json.dumps(json_ready(row), allow_nan=False))
    assert shown == {key: wanted for key, (_, wanted) in nested.items()}


def test_rows_without_columns_and_columns_without_rows() -> None:
    assert python_rows(pa.table({"a": pa.array([], pa.int8())})) == []
