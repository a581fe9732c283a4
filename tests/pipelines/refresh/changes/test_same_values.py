"""Values of every type that a kept column may have are compared as Python compares them, null with null and NaN with
NaN."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.refresh.changes.same_values import same_values
from pipelines.refresh.changes.versions import plain_etags, stored_uris, version_texts

STRUCT = pa.struct([("a", pa.int32()), ("tags", pa.list_(pa.string()))])
CASES: list[tuple[pa.DataType, list[Any], list[Any], list[bool]]] = [
    (pa.string(), ["a", "b", None, None], ["a", "c", None, "d"], [True, False, True, False]),
    (pa.float64(), [float("nan"), 1.0, None], [float("nan"), 2.0, float("nan")], [True, False, False]),
    (pa.float16(), [*np.float16([np.nan, 1]), None], [*np.float16([np.nan, 2]), None], [True, False, True]),
    (
        pa.list_(pa.int64()),
        [[1, 2], [], None, [1], [None]],
        [[1, 2], [], [], [2], [None]],
        [True, True, False, False, True],
    ),
    (pa.list_(pa.float32(), 2), [[1, 2], None, [3, 4]], [[1, 2], None, [3, 5]], [True, True, False]),
    (
        STRUCT,
        [{"a": 1, "tags": ["x"]}, {"a": 1, "tags": ["x"]}, None, {"a": None, "tags": None}],
        [{"a": 1, "tags": ["x"]}, {"a": 1, "tags": ["y"]}, {"a": None, "tags": None}, {"a": None, "tags": None}],
        [True, False, False, True],
    ),
    (pa.map_(pa.string(), pa.int32()), [[("k", 1)], [("k", 1)]], [[("k", 1)], [("k", 2)]], [True, False]),
    (pa.null(), [None, None], [None, None], [True, True]),
    (pa.list_(STRUCT), [[{"a": 1, "tags": []}]] * 2, [[{"a": 1, "tags": []}], [{"a": 2, "tags": []}]], [True, False]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case[0]))
def test_values_of_each_type(case: tuple[pa.DataType, list[Any], list[Any], list[bool]]) -> None:
    kind, first, second, same = case
    one, other = pa.array(first, kind), pa.array(second, kind)
    assert same_values(one, other).tolist() == same
    # Also of a piece of a longer array, and of no rows.
    longer = pa.concat_arrays([pa.nulls(3, kind), other, pa.nulls(2, kind)])
    assert same_values(one, longer.slice(3, len(one))).tolist() == same
    assert same_values(one.slice(0, 0), other.slice(0, 0)).tolist() == []
    assert same_values(one, one).all()


def test_dictionaries_and_extensions() -> None:
    first = pa.array(["a", "b"]).dictionary_encode()
    assert same_values(first, pa.array(["a", "c"]).dictionary_encode()).tolist() == [True, False]
    ids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, b"1" * 16], pa.binary(16)))
    assert same_values(ids, ids.take(pa.array([0, 0]))).tolist() == [True, False]


def test_etags_as_stores_write_them_are_alike() -> None:
    written = ['"a-3"', 'W/"a"', "0x8D", '""', "", None, 'W/""', "Wa"]
    assert plain_etags(pa.array(written)).to_pylist() == ["a-3", "a", "0x8D", None, None, None, None, "Wa"]


def test_versions_are_the_texts_of_their_columns() -> None:
    rows = pa.table({"at": pa.array([1, None]), "tag": ["x", "y"]})
    assert version_texts(rows, ["at", "tag"]).to_pylist() == ["1\x1fx", "\x1fy"]
    assert version_texts(rows, []).to_pylist() == ["", ""]


def test_uris_are_compared_without_secrets() -> None:
    uris = ["https://u:p@h/a?sig=1&v=2", None, "s3://b/a", "https://h/b"]
    assert stored_uris(pa.array(uris)).to_pylist() == ["https://h/a?v=2", None, "s3://b/a", "https://h/b"]
    assert np.array_equal(stored_uris(pa.array(["/a", "/b"])).to_pylist(), ["/a", "/b"])
