"""The measure itself: the true neighbours are those that Lance finds by comparing with every row."""

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from operators.base.arrays import vectors_from_numpy
from pipelines.index.exact import draw_queries, exact_neighbors, exact_of
from pipelines.space.flat import Metric, flat_vectors, max_sim
from pipelines.table.table import Table

ROWS, DIM, K = 600, 16, 7
RANDOM = np.random.default_rng(3)
FLOATS = RANDOM.normal(size=(ROWS, DIM)).astype("f4")
NULLS = np.arange(ROWS) % 11 != 0


def several(rows: int) -> pa.Array:
    """0 to 3 vectors a row."""
    counts = np.arange(rows) % 4
    starts = np.concatenate([[0], np.cumsum(counts)]).astype("i4")
    vectors = RANDOM.normal(size=(starts[-1], DIM)).astype("f2")
    return pa.ListArray.from_arrays(pa.array(starts), vectors_from_numpy(vectors))


COLUMNS: dict[str, tuple[pa.Array, Metric]] = {
    "float32, cosine": (vectors_from_numpy(FLOATS, NULLS), "cosine"),
    "float16, l2": (vectors_from_numpy(FLOATS.astype("f2")), "l2"),
    "float32, dot": (vectors_from_numpy(FLOATS), "dot"),
    "bits, hamming": (vectors_from_numpy(RANDOM.integers(0, 256, (ROWS, 64)).astype("u1")), "hamming"),
    "several a row": (several(ROWS), "cosine"),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_the_same_as_lance_finds_by_comparing(case: str, tmp_path: Path) -> None:
    column, metric = COLUMNS[case]
    uri = str(tmp_path / "t.lance")
    dataset = lance.write_dataset(pa.table({"vector": column}), uri, max_rows_per_file=200, enable_stable_row_ids=True)
    dataset.delete("_rowid IN (5, 6, 400)")
    queries = draw_queries(dataset, "vector", 12, seed=1)
    rows = [int(row) for [row] in queries.left_out]
    assert len(set(rows)) == len(rows) > 5
    opened = (Table.of(uri), dataset.version, "vector", queries, metric, K)
    fragments = [f.fragment_id for f in dataset.get_fragments()]
    parts = [exact_neighbors(*opened, fragments[:1]), exact_neighbors(*opened, fragments[1:])]
    found = exact_of(parts, K).nearest
    for query, own, nearest_rows in zip(queries.vectors, rows, found, strict=True):
        nearest = {"column": "vector", "q": pa.array(query[0]) if len(query) == 1 else query, "k": K + 20}
        nearest |= {"metric": metric, "use_index": False}
        by_lance = dataset.to_table(columns=["_distance"], nearest=nearest, with_row_id=True)
        distances = {row: d for row, d in zip(*map(pa.ChunkedArray.to_pylist, by_lance.columns[::-1]), strict=True)}
        distances.pop(own, None)
        # Equal distances may stand in any order: hamming has many.
        found_ids = nearest_rows.row_ids.tolist()
        assert own not in found_ids
        assert [distances[row] for row in found_ids] == pytest.approx(sorted(distances.values())[:K], abs=1e-3)


def test_max_sim_by_hand() -> None:
    similarities = np.array([[1, 5, 2], [4, 0, 3], [7, 7, 7]], np.float32)
    scores = max_sim(similarities, queries=np.array([2, 1]), rows=np.array([2, 0, 1]))
    assert scores.tolist() == [[5 + 4, -np.inf, 2 + 3], [7, -np.inf, 7]]


def test_nulls_and_empty_lists_have_no_vectors() -> None:
    nothing = pa.chunked_array([pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)).slice(1)])
    assert flat_vectors(nothing).counts.tolist() == [0, 1]
    assert flat_vectors(nothing).values.tolist() == [[3, 4]]
    lists = pa.array([[[1.0, 2.0]], None, [], [[3.0, 4.0], [5.0, 6.0]]], pa.list_(pa.list_(pa.float32(), 2)))
    assert flat_vectors(pa.chunked_array([lists.slice(1)])).counts.tolist() == [0, 0, 2]
