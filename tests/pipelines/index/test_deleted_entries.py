"""Every kind of vector index after what plain lancedb does to a table: only rows that are there, each once, all of k.

One table has a column for each kind, so that each thing is done once for all of them; with stable row ids, as earlier
releases made tables, and without.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lance
import lancedb
import numpy as np
import pyarrow as pa
import pytest

from operators.base.arrays import vectors_from_numpy
from pipelines.index.deleted_entries import may_give_deleted
from pipelines.index.records import column_metric
from pipelines.search.column import SearchColumn, search_column
from pipelines.search.nearest import Probe, nearest, rank_rows, take_rows
from pipelines.search.scan import scan
from pipelines.space.flat import Metric
from pipelines.table.errors import TableError
from tests.pipelines.search.test_nearest import derived

ROWS, DIM, PARTITIONS = 320, 32, 4
"""Enough for a codebook of 16 entries."""


class Kind(NamedTuple):
    index: str
    metric: Metric
    exact: bool
    """Whether looking into all partitions is comparing with every row."""
    column: str


KINDS = [
    Kind("IVF_FLAT", "cosine", True, "v_flat"),
    Kind("IVF_FLAT", "dot", True, "v_dot"),
    Kind("IVF_FLAT", "l2", True, "v_l2"),
    Kind("IVF_PQ", "cosine", False, "v_pq"),
    Kind("IVF_SQ", "cosine", False, "v_sq"),
    Kind("IVF_RQ", "cosine", False, "v_rq"),
    Kind("IVF_HNSW_SQ", "cosine", False, "v_hnsw_sq"),
    Kind("IVF_HNSW_PQ", "cosine", False, "v_hnsw_pq"),
    Kind("IVF_HNSW_FLAT", "cosine", False, "v_hnsw_flat"),
    Kind("IVF_FLAT", "hamming", True, "vector_binary"),
    Kind("IVF_FLAT", "cosine", False, "lists"),
    Kind("IVF_PQ", "cosine", False, "lists_pq"),
]
CODES = {"num_sub_vectors": 8, "num_bits": 4}


def directions(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, DIM)).astype("f4")
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rows_of(folder: Path, numbers: list[int], seed: int = 0) -> pa.Table:
    """Rows of these numbers: the same vectors in every column, of lists two a row."""
    own = [directions(2, seed=[seed, number]) for number in numbers]  # type: ignore[arg-type]
    single = vectors_from_numpy(np.stack([pair[0] for pair in own]))
    starts = pa.array(np.arange(0, 2 * len(own) + 1, 2), pa.int32())
    lists = pa.ListArray.from_arrays(starts, vectors_from_numpy(np.concatenate(own)))
    binary, bits = derived(folder, "binary", single)
    columns: dict[str, tuple[pa.Field, pa.Array]] = {}
    for kind in KINDS:
        if kind.metric == "hamming":
            columns[kind.column] = binary.with_name(kind.column), bits
        else:
            values = lists if kind.column.startswith("lists") else single
            columns[kind.column] = pa.field(kind.column, values.type), values
    schema = pa.schema([("n", pa.int64()), ("label", pa.string()), *(field for field, _ in columns.values())])
    return pa.table([numbers, ["cat"] * len(own), *(values for _, values in columns.values())], schema=schema)


class Made(NamedTuple):
    folder: Path

    @property
    def dataset(self) -> Any:
        return lance.dataset(f"{self.folder}/t.lance")

    @property
    def lancedb(self) -> Any:
        return lancedb.connect(str(self.folder)).open_table("t")


@pytest.fixture(scope="module", params=[True, False], ids=["stable row ids", "row addresses"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = Made(tmp_path_factory.mktemp("indexed"))
    rows = rows_of(made.folder, list(range(ROWS)))
    dataset = lance.write_dataset(
        rows,
        f"{made.folder}/t.lance",
        max_rows_per_file=ROWS // 4,
        enable_stable_row_ids=request.param,
        data_storage_version="2.2",
    )
    for kind in KINDS:
        options: dict[str, Any] = CODES if "PQ" in kind.index else {}
        if kind.metric != "hamming":
            options = options | {"ivf_centroids": vectors_from_numpy(directions(PARTITIONS, 9))}
        dataset.create_index(kind.column, kind.index, metric=kind.metric, num_partitions=PARTITIONS, **options)
    return made


def update(made: Made) -> None:
    made.lancedb.update(where="n % 3 = 0", values={"label": "kitty"})


def optimize(made: Made) -> None:
    made.lancedb.optimize()


def merge_insert(made: Made) -> None:
    """Other vectors for some rows, and new rows."""
    rows = rows_of(made.folder, list(range(ROWS - 40, ROWS + 20)), seed=1)
    made.lancedb.merge_insert("n").when_matched_update_all().when_not_matched_insert_all().execute(rows)


def delete(made: Made) -> None:
    made.lancedb.delete("n % 2 = 0")


def delete_one(made: Made) -> None:
    made.lancedb.delete("n = 7")


def compact(made: Made) -> None:
    made.dataset.optimize.compact_files()


def add(made: Made) -> None:
    made.lancedb.add(rows_of(made.folder, list(range(ROWS, ROWS + 30))))


def restore(made: Made) -> None:
    table = made.lancedb
    version = table.version
    delete(made)
    compact(made)
    table.checkout(version)
    table.restore()


Action = Callable[[Made], None]
ACTIONS: dict[str, tuple[Action, ...]] = {
    "update": (update,),
    "update, compact": (update, compact),
    "optimize": (add, optimize),
    "merge_insert": (merge_insert,),
    "merge_insert, compact": (merge_insert, compact),
    "delete": (delete,),
    "delete, compact": (delete, compact),
    "delete, compact, delete": (delete, compact, delete_one),
    "delete, compact, add": (delete, compact, add),
    "restore": (restore,),
}


def searched(dataset: Any, kind: Kind) -> SearchColumn:
    assert column_metric(dataset, kind.column) == kind.metric
    return search_column(dataset.schema.field(kind.column), metric=column_metric(dataset, kind.column))


@pytest.mark.parametrize("action", ACTIONS)
def test_k_rows_that_are_there_whatever_another_tool_has_done(made: Made, action: str, tmp_path: Path) -> None:
    copy = Made(tmp_path / "copy")
    shutil.copytree(made.folder, copy.folder)
    for each in ACTIONS[action]:
        each(copy)
    dataset = copy.dataset
    there = set(dataset.to_table(columns=[], with_row_id=True)["_rowid"].to_pylist())
    for kind in KINDS:
        column = searched(dataset, kind)
        masked = may_give_deleted(dataset, kind.column)
        if action == "delete, compact":
            assert masked == dataset.has_stable_row_ids
        probe = Probe(nprobes=PARTITIONS, mask_deleted=masked)
        queries = directions(2, seed=0) if kind.column.startswith("lists") else directions(2, seed=5)[:1]
        query = column.queries(queries) if column.reduction is None else queries
        for where, k in ((None, 10), (None, len(there)), ("n >= 0", len(there))):
            found = nearest(dataset, column, query, k, where=where, probe=probe)
            ids = found.row_ids.tolist()
            # A graph may have a row that no path of it leads to.
            assert len(ids) >= (0.95 * k if "hnsw" in kind.column else k), (kind, where, k)
            assert len(set(ids)) == len(ids)
            assert set(ids) <= there
            if kind.exact:
                exact = nearest(dataset, column, query, k, where=where, probe=Probe(exact=True))
                np.testing.assert_allclose(found.scores, exact.scores, atol=1e-5)
                [read] = scan(dataset, column, [query], k, where=where)
                np.testing.assert_allclose(found.scores, read.scores, atol=1e-5)


def test_a_row_that_is_gone_is_named_and_not_passed_over(tmp_path: Path) -> None:
    rows = pa.table({"vector": vectors_from_numpy(directions(10, 0))})
    dataset = lance.write_dataset(rows, tmp_path / "t.lance", enable_stable_row_ids=True)
    dataset.delete("_rowid = 3")
    row_ids = np.array([2, 3, 4], np.uint64)
    with pytest.raises(TableError, match=r"an index gave 1 rows that are not in the table; search with --exact"):
        take_rows(dataset, row_ids, ["vector"])
    with pytest.raises(TableError, match="an index gave 1 rows"):
        rank_rows(dataset, search_column(dataset.schema.field("vector")), directions(1, 5), row_ids, 2)
