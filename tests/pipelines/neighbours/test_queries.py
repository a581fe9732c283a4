"""Rows as queries: as they are compared, one vector or several, each without itself unless more is left out."""

import numpy as np
import pyarrow as pa
import pytest

from operators.base.arrays import vectors_from_numpy
from pipelines.neighbours.queries import queries_of


@pytest.mark.parametrize(("stored", "kept"), [("f2", "f4"), ("f4", "f4"), ("u1", "u1")])
def test_floats_as_float32_and_bits_as_they_are(stored: str, kept: str) -> None:
    vectors = np.arange(12).reshape(3, 4).astype(stored)
    row_ids = pa.array([7, 1 << 40, 9], pa.uint64())
    queries = queries_of(pa.table({"v": vectors_from_numpy(vectors), "_rowid": row_ids}), "v")
    assert [(each.dtype, each.tolist()) for each in queries.vectors] == [(kept, [row]) for row in vectors.tolist()]
    assert [each.tolist() for each in queries.left_out] == [[7], [1 << 40], [9]]
    assert {each.dtype for each in queries.left_out} == {np.dtype("u8")}


def test_rows_of_several_vectors_and_no_rows() -> None:
    lists = pa.array([[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]], pa.list_(pa.list_(pa.float32(), 2)))
    rows = pa.table({"v": lists, "_rowid": pa.array([3, 4], pa.uint64())})
    image = np.array([3, 4], np.uint64)
    queries = queries_of(rows, "v", [image, image])
    assert (len(queries), queries.counts.tolist()) == (2, [1, 2])
    assert queries.vectors[1].tolist() == [[3, 4], [5, 6]]
    assert [each.tolist() for each in queries.left_out] == [[3, 4], [3, 4]]
    assert len(queries_of(rows.slice(0, 0), "v")) == 0
