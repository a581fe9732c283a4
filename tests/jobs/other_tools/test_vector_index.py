"""Whatever plain lancedb does to a table with a vector index, searches and measurements give what comparing gives.

Each kind of index is tried in `tests/pipelines/index/test_deleted_entries.py`; here the commands are.
"""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from lance.fragment import write_fragments

from jobs.describe import DescribeConfig
from jobs.describe import as_text as described_text
from jobs.describe import run as describe
from jobs.evaluate import EvaluateConfig
from jobs.evaluate import run as evaluate
from jobs.index import IndexConfig, IndexResult
from jobs.index import run as index
from jobs.search import SearchConfig, SearchResult
from jobs.search import run as search
from made import vectors as made_vectors
from made.other_tools import ACTIONS, Touched, made_tables, stable_row_ids
from made.vectors import clustered
from operators.base.arrays import vectors_from_numpy
from operators.base.errors import UserError
from operators.storage.stores import NO_OPTIONS
from operators.vectors.float_codes import cosines
from pipelines.table.fenced_table import FencedTable
from pipelines.table.names import TableNames

__all__ = ["made_tables"]


def indexing(touched: Touched, **options: object) -> IndexResult:
    return index(IndexConfig.model_validate({"table": touched.table, "cluster": {"executor": "local"}, **options}))


@pytest.fixture(scope="module")
def indexed(made_tables: dict[bool, Touched], tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Touched]:
    copies = {stable: made.copy_to(tmp_path_factory.mktemp("indexed")) for stable, made in made_tables.items()}
    for copied in copies.values():
        assert indexing(copied, type="IVF_FLAT", num_partitions=2, queries=20, nprobes=2).status == "built"
    return copies


def finding(touched: Touched, **query: object) -> SearchResult:
    return search(SearchConfig.model_validate({"table": touched.table, **query}))


def check_searches(touched: Touched) -> None:
    """Against NumPy over the rows that a plain read gives."""
    rows = [row for row in touched.rows() if row["vector"] is not None]
    vectors = np.array([row["vector"] for row in rows], "f4")
    for at in (0, len(rows) - 1):
        scores = -np.sort(-cosines(vectors[at : at + 1], vectors)[0])
        for k in (10, len(rows)):
            found = finding(touched, id=rows[at]["id"], k=k)
            assert found.index is not None
            assert len({row["id"] for row in found.results}) == len(found.results) == k
            np.testing.assert_allclose([row["score"] for row in found.results], scores[:k], atol=1e-3)
        few = finding(touched, id=rows[at]["id"], k=100, where="`number` >= 10")
        assert {row["id"] for row in few.results} == {row["id"] for row in rows if row["number"] >= 10}


def delete_and_compact(touched: Touched) -> None:
    touched.lancedb.delete("number % 2 = 0")
    touched.dataset.optimize.compact_files()


@pytest.mark.parametrize("stable", [False, True], ids=["", "stable row ids"])
@pytest.mark.parametrize("action", [*ACTIONS, "delete and compact"])
def test_searches_give_what_comparing_gives(
    indexed: dict[bool, Touched], action: str, stable: bool, tmp_path: Path
) -> None:
    touched = indexed[stable].copy_to(tmp_path)
    ACTIONS.get(action, delete_and_compact)(touched)
    check_searches(touched)
    indexing(touched, update=True, nprobes=2)
    check_searches(touched)
    column = describe(DescribeConfig(table=touched.table)).vector_columns["vector"]
    assert (column.unindexed_rows, column.deleted_in_index) == (0, False)


def test_an_index_that_may_hold_deleted_rows_is_named_measured_right_and_made_anew(
    indexed: dict[bool, Touched], tmp_path: Path
) -> None:
    touched = indexed[True].copy_to(tmp_path)
    delete_and_compact(touched)
    described = describe(DescribeConfig(table=touched.table))
    assert described.vector_columns["vector"].deleted_in_index
    assert f"`pixlake index {touched.table} --column vector --update` makes it anew" in described_text(described)
    [group] = evaluate(EvaluateConfig(table=touched.table, queries=10, timing_queries=0)).models
    assert [each.name for each in group.ways] == ["vector", "vector IVF_FLAT"]
    assert all(set(each.recall.values()) == {1.0} for each in group.ways)
    assert indexing(touched, update=True).status == "updated"
    assert not describe(DescribeConfig(table=touched.table)).vector_columns["vector"].deleted_in_index
    assert indexing(touched, update=True).status == "up_to_date"


@pytest.mark.parametrize("stable", [False, True], ids=["", "stable row ids"])
def test_rows_that_we_replace_ourselves_and_a_compaction(stable: bool, tmp_path: Path) -> None:
    """As a retry does, in one commit: half of the rows get another vector, a tenth is taken out."""
    vectors = clustered(300, 16)
    with stable_row_ids() if stable else nullcontext():
        table = made_vectors.make(f"{tmp_path}/lake/photos", vectors, fragments=3)
    options = {"table": table, "type": "IVF_FLAT", "num_partitions": 4, "queries": 20, "nprobes": 4}
    index(IndexConfig.model_validate({**options, "cluster": {"executor": "local"}}))
    uri = TableNames.from_table(table).vectors
    fenced, _ = FencedTable.create_or_open(uri, made_vectors.dataset_of(table).schema, NO_OPTIONS)
    fenced.claim(fenced.term.number + 1, "test")
    new = clustered(150, 16, seed=1)
    rows = made_vectors.rows_of(vectors_from_numpy(new), 0)
    options = {"mode": "append", "data_storage_version": "2.2", "enable_stable_row_ids": stable}
    fenced.replace(np.arange(180), write_fragments(rows, uri, **options))
    made_vectors.dataset_of(table).optimize.compact_files()
    assert made_vectors.dataset_of(table).has_stable_row_ids == stable
    now = np.concatenate([new, vectors[180:]])
    for row in (0, 149, 180, 299):
        own = now[row] if row < 150 else vectors[row]
        scores = -np.sort(-cosines(own[None], now)[0])
        for k in (10, 270):
            found = search(SearchConfig(table=table, id=f"i{row}", k=k)).results
            assert len({each["id"] for each in found}) == k
            np.testing.assert_allclose([each["score"] for each in found], scores[:k], atol=1e-5)


def test_a_filter_index_on_the_vectors_stops_no_search(made_tables: dict[bool, Touched], tmp_path: Path) -> None:
    """Lance takes it for the vector index: `Not found: …/index.idx`."""
    touched = made_tables[False].copy_to(tmp_path)
    touched.dataset.create_scalar_index("vector", "ZONEMAP", name="a")
    rows = touched.rows()
    found = finding(touched, id=rows[0]["id"], k=3, where="`number` >= 0")
    assert len(found.results) == 3
    assert found.index is None
    with pytest.raises(UserError, match=r"vector has the filter index a, .*drop_index"):
        indexing(touched, type="IVF_FLAT")
    touched.lancedb.drop_index("a")
    assert indexing(touched, type="IVF_FLAT", num_partitions=2, queries=20, nprobes=2).status == "built"
    with pytest.raises(UserError, match="--scalar vector: it holds vectors"):
        indexing(touched, scalar=["vector=ZONEMAP"])
