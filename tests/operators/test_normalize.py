"""Unit length in the stored type; vectors that cannot be used become failures."""

import numpy as np
import pyarrow as pa
import pytest

from operators.base.arrays import list_field, rebuild_lists, vector_field, vectors_from_numpy
from operators.base.columns import ERROR_FIELDS
from operators.normalize import NormalizeConfig, l2_normalize


def batch(vectors: np.ndarray) -> pa.Table:
    table = pa.table([vectors_from_numpy(vectors)], schema=pa.schema([vector_field(vectors.shape[1], pa.float32())]))
    for field in ERROR_FIELDS:
        table = table.append_column(field, pa.nulls(len(vectors), field.type))
    return table


def test_unit_length() -> None:
    vectors = np.random.default_rng(1).normal(size=(100, 64)).astype(np.float32) * 1000
    unit = l2_normalize(vectors)
    assert np.allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    assert np.allclose(unit * np.linalg.norm(vectors, axis=1)[:, None], vectors, rtol=1e-5)


def test_large_and_tiny_vectors_keep_their_direction() -> None:
    vectors = np.array([[3e30, 4e30], [3e-30, 4e-30]], np.float32)
    assert np.allclose(l2_normalize(vectors), [[0.6, 0.8], [0.6, 0.8]])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_stored_type_and_values(dtype: str) -> None:
    config = NormalizeConfig(dtype=dtype)  # type: ignore[arg-type]
    given = batch(np.array([[3, 4], [0, 2]], np.float32))
    out = config.build()(given)
    assert out.schema.equals(config.output_schema(given.schema))
    assert np.allclose(out["vector"].to_pylist(), [[0.6, 0.8], [0, 1]], atol=1e-3)


def test_nan_infinite_and_zero_vectors_become_failures() -> None:
    vectors = np.array([[1, 0], [np.nan, 1], [np.inf, 1], [0, 0], [0, 5]], np.float32)
    out = NormalizeConfig().build()(batch(vectors))
    assert out["error_class"].to_pylist() == [None, "bad_vector", "bad_vector", "bad_vector", None]
    assert out["error_stage"].to_pylist()[1] == "normalize"
    assert [v is None for v in out["vector"].to_pylist()] == [False, True, True, True, False]
    assert "zero" in out["error"].to_pylist()[3]


def test_without_l2_a_vector_too_large_for_float16_is_a_failure() -> None:
    vectors = np.array([[1e6, 0], [2, 0]], np.float32)
    out = NormalizeConfig(l2=False).build()(batch(vectors))
    assert out["error_class"].to_pylist() == ["bad_vector", None]
    assert "float16" in out["error"].to_pylist()[0]
    assert out["vector"].to_pylist()[1] == [2, 0]
    assert NormalizeConfig(l2=False, dtype="float32").build()(batch(vectors))["error_class"].null_count == 2


def test_without_l2_a_vector_that_float16_rounds_to_zero_is_a_failure() -> None:
    out = NormalizeConfig(l2=False).build()(batch(np.array([[1e-9, 0], [0, 0], [1, 1]], np.float32)))
    assert out["error_class"].to_pylist() == ["bad_vector", "bad_vector", None]
    assert ["float16" in (why or "") for why in out["error"].to_pylist()] == [True, False, False]


def test_one_bad_region_fails_its_row_and_is_named() -> None:
    vectors = np.array([[3, 4], [0, 2], [1, 0], [np.nan, 1], [0, 0], [5, 0]], np.float32)
    lists = rebuild_lists(vectors_from_numpy(vectors), np.array([2, 3, 0, 1]))
    table = pa.table([lists], schema=pa.schema([list_field(vector_field(2, pa.float32()))]))
    for field in ERROR_FIELDS:
        table = table.append_column(field, pa.nulls(4, field.type))
    out = NormalizeConfig().build()(table)
    assert out["error_class"].to_pylist() == [None, "bad_vector", None, None]
    assert out["error"][1].as_py() == "region 1: the vector has NaN or infinite components"
    assert out["vector"][1].as_py() is None
    assert out["vector"].type == pa.list_(pa.list_(pa.field("item", pa.float16()), 2))
    assert np.allclose(np.array(out["vector"][0].as_py()), [[0.6, 0.8], [0, 1]], atol=1e-3)
    assert out["vector"].to_pylist()[2:] == [[], [[1, 0]]]


def test_space_names_what_decides_the_vector() -> None:
    assert NormalizeConfig(l2=False).space("vector") == {"l2": False, "dtype": "float16"}
    assert NormalizeConfig().space("vector_b") == {}
