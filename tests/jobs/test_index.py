"""`pixlake index`: what is published finds what it says it finds, and nothing else is published."""

import json
from pathlib import Path
from typing import Any

import lance
import lancedb
import numpy as np
import pyarrow as pa
import pytest

from jobs.config.load import ConfigError, load_config
from jobs.index import IndexConfig, IndexResult, as_text, run
from made.vectors import append, clustered, dataset_of, found, make, rows_of
from operators.base.arrays import vectors_from_numpy
from operators.base.errors import UserError
from operators.storage.stores import StorageOptions
from pipelines.filter_index.trust import doubts
from pipelines.index import build as index_build
from pipelines.index import plan as index_plan
from pipelines.index import publish as index_publish
from pipelines.index.records import read_index_record, unindexed_rows
from pipelines.table.errors import RecallError
from pipelines.table.fenced_table import TERM_KEY

ROWS, DIM = 3000, 32


def index(table: str, **values: Any) -> IndexResult:
    values = {"cluster": {"executor": "local"}, "workers": 2, "num_partitions": 12, "queries": 60, **values}
    if values.get("update"):
        values.pop("num_partitions")
    return run(IndexConfig(table=table, **values))


def files_of(table: str) -> set[str]:
    return {str(path.relative_to(table + ".lance")) for path in Path(table + ".lance").rglob("*") if path.is_file()}


def missed(dataset: "lance.LanceDataset", queries: np.ndarray, **nearest: Any) -> int:
    """How many of the true ten nearest of each query a search of all partitions does not give."""
    looked = {"nprobes": 100, "refine_factor": 50, **nearest}
    pairs = [(found(dataset, query, use_index=False), found(dataset, query, **looked)) for query in queries]
    return sum(len(set(true) - set(seen)) for true, seen in pairs)


@pytest.mark.parametrize("kind", ["IVF_RQ", "IVF_PQ", "IVF_HNSW_SQ"])
def test_what_is_published_finds_what_it_says(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_build, "ROWS_APART", 1000)
    element = "f4" if kind == "IVF_PQ" else "f2"
    vectors = clustered(ROWS, DIM).astype(element)
    table = make(f"{tmp_path}/lake/photos", vectors)
    result = index(table, type=kind)
    record = result.index
    assert result.status == "built"
    assert record is not None
    assert record.type == kind
    assert record.recall >= 0.95
    assert record.rows == ROWS
    assert record.size_bytes > 0
    dataset = dataset_of(table)
    assert read_index_record(dataset, "vector") == record
    assert unindexed_rows(dataset, "vector") == result.unindexed_rows == 0
    queries = clustered(40, DIM, seed=5)
    settings = {"nprobes": record.nprobes} | ({"refine_factor": record.refine} if record.refine else {})
    plan = dataset.scanner(nearest={"column": "vector", "q": queries[0], "k": 10, **settings}).explain_plan()
    assert record.name in plan or "ANN" in plan
    assert missed(dataset, queries, **settings) / 400 <= 0.12, "other queries than those measured, so not quite 0.05"
    assert missed(dataset, queries) == 0
    assert record.segments == (2 if "SQ" in kind else 1)


def test_plain_lancedb_uses_the_index_and_finds_the_same(tmp_path: Path) -> None:
    table = make(f"{tmp_path}/lake/photos", clustered(ROWS, DIM).astype("f2"))
    record = index(table, type="IVF_RQ").index
    assert record is not None
    opened = lancedb.connect(f"{tmp_path}/lake").open_table("photos")
    assert record.name in {each.name for each in opened.list_indices()}
    for query in clustered(5, DIM, seed=8):
        search = (
            opened.search(query).metric("cosine").nprobes(record.nprobes).refine_factor(record.refine or 1).limit(10)
        )
        assert "ANN" in search.explain_plan(verbose=True)
        ours = found(dataset_of(table), query, nprobes=record.nprobes, refine_factor=record.refine or 1)
        assert [row["id"] for row in search.to_list()] == ours


def test_a_build_under_its_target_is_not_published(tmp_path: Path) -> None:
    table = make(f"{tmp_path}/lake/photos", clustered(ROWS, DIM).astype("f2"))
    before = index(table, type="IVF_FLAT").index
    version, files = dataset_of(table).version, files_of(table)
    with pytest.raises(RecallError, match=r"index recall@10 0\.\d+ at nprobes=1(?s:.*)--target-recall"):
        index(table, type="IVF_RQ", nprobes=1, refine=1, target_recall=0.999)
    dataset = dataset_of(table)
    assert dataset.version == version
    assert read_index_record(dataset, "vector") == before
    assert files_of(table) == files, "nothing is left behind"


def test_auto_goes_on_to_a_larger_index_until_the_target_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_plan, "ENOUGH_TO_COMPARE", 0)
    table = make(f"{tmp_path}/lake/photos", clustered(ROWS, DIM).astype("f2"))
    result = index(table, refine=1, target_recall=0.97)
    assert [each["type"] for each in result.tried] == ["IVF_RQ", "IVF_RQ", "IVF_SQ", "IVF_FLAT"][: len(result.tried)]
    assert len(result.tried) > 1
    assert result.tried[0]["recall"] < 0.97 <= result.tried[-1]["recall"]
    assert result.index is not None
    assert result.tried[-1]["recall"] == result.index.recall
    assert len(dataset_of(table).describe_indices()) == 3
    assert "too little IVF_RQ: index recall@10 0." in as_text(result)


def test_few_vectors_need_none(tmp_path: Path) -> None:
    table = make(f"{tmp_path}/lake/photos", clustered(500, DIM).astype("f2"))
    result = index(table, scalar=("even", "row=zonemap"))
    assert (result.status, result.index) == ("not_needed", None)
    assert result.scalar == {"id": "BTREE", "uri": "BTREE", "even": "BITMAP", "row": "ZONEMAP"}
    assert "ScalarIndexQuery" in dataset_of(table).scanner(filter="id = 'i7'").explain_plan()
    append(table, rows_of(vectors_from_numpy(clustered(10, DIM, seed=9).astype("f2")), 500))
    assert dataset_of(table).count_rows("id = 'i507'") == 1
    index(table)
    [ids] = [each for each in dataset_of(table).describe_indices() if each.name == "pixlake_id"]
    assert (ids.num_rows_indexed, len(ids.segments)) == (510, 2)
    assert dataset_of(table).count_rows("id = 'i507'") == 1


def test_a_full_text_index_of_another_tool_stays_beside_ours(tmp_path: Path) -> None:
    table = make(f"{tmp_path}/lake/photos", clustered(100, DIM).astype("f2"))
    plain = lancedb.connect(f"{tmp_path}/lake").open_table("photos")
    plain.create_index("uri", config=lancedb.index.FTS(), name="uri_idx")
    index(table)
    kinds = {each.name: each.index_type for each in dataset_of(table).describe_indices()}
    assert kinds == {"uri_idx": "Inverted", "pixlake_id": "BTree", "pixlake_uri": "BTree"}
    assert len(plain.search("i7", query_type="fts", fts_columns="uri").limit(5).to_list()) == 1
    lancedb.connect(f"{tmp_path}/lake").open_table("photos").optimize()
    assert set(doubts(dataset_of(table))) == {"id", "uri"}, "other pieces than those that were asked"
    assert index(table, update=True).status == "filters_alone"
    assert doubts(dataset_of(table)) == {}


def test_an_update_indexes_new_rows_with_the_model_that_is_there(tmp_path: Path) -> None:
    vectors = clustered(ROWS, DIM).astype("f2")
    table = make(f"{tmp_path}/lake/photos", vectors)
    first = index(table, type="IVF_RQ").index
    assert first is not None
    assert index(table, update=True).status == "up_to_date"
    more = clustered(400, DIM, seed=4).astype("f2")
    append(table, rows_of(vectors_from_numpy(more), ROWS), fragments=2)
    assert unindexed_rows(dataset_of(table), "vector") == 400
    assert missed(dataset_of(table), more[:20].astype("f4")) == 0, "rows without an index are found by comparing"
    result = index(table, update=True)
    assert (result.status, result.unindexed_rows) == ("updated", 0)
    second = result.index
    assert second is not None
    assert (second.name, second.model, second.rows, second.segments) == (first.name, first.model, ROWS + 400, 2)
    assert read_index_record(dataset_of(table), "vector") == second
    assert missed(dataset_of(table), more[:20].astype("f4")) == 0


def test_many_updates_come_to_few_segments(tmp_path: Path) -> None:
    table = make(f"{tmp_path}/lake/photos", clustered(ROWS, DIM).astype("f2"))
    index(table, type="IVF_RQ")
    for at in range(3):
        append(table, rows_of(vectors_from_numpy(clustered(60, DIM, seed=at + 20).astype("f2")), ROWS + 60 * at))
        result = index(table, update=True, most_segments=3)
        assert result.index is not None
        assert result.index.segments <= 3
        assert missed(dataset_of(table), clustered(10, DIM, seed=at + 20)) == 0


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("update", [False, True])
def test_a_death_around_publication_leaves_an_index_with_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update: bool, published: bool
) -> None:
    class Killed(BaseException):
        pass

    publish = index_publish.publish

    def die(*arguments: Any) -> None:
        if published:
            publish(*arguments)
        raise Killed

    table = make(f"{tmp_path}/lake/photos", clustered(ROWS, DIM).astype("f2"))
    first = index(table, type="IVF_FLAT").index
    assert first is not None
    append(table, rows_of(vectors_from_numpy(clustered(400, DIM, seed=4).astype("f2")), ROWS))
    with monkeypatch.context() as patched:
        patched.setattr(index_publish, "publish", die)
        with pytest.raises(Killed):
            index(table, update=update, **({} if update else {"type": "IVF_SQ"}))
    left = read_index_record(dataset_of(table), "vector")
    assert left is not None
    [there] = {each.name for each in dataset_of(table).describe_indices() if each.field_names == ["vector"]}
    assert left.name == there
    assert left.type == ("IVF_SQ" if published and not update else "IVF_FLAT")
    assert index(table, update=True).status == ("up_to_date" if published else "updated")
    index(table, type="IVF_SQ")
    assert f"pixlake.index.{there}" not in dataset_of(table).metadata


def test_the_model_of_a_table_that_was_moved_is_found(tmp_path: Path) -> None:
    index(make(f"{tmp_path}/lake/photos", clustered(ROWS, DIM).astype("f2")), type="IVF_RQ")
    (tmp_path / "lake").rename(tmp_path / "moved")
    table = f"{tmp_path}/moved/photos"
    append(table, rows_of(vectors_from_numpy(clustered(400, DIM, seed=4).astype("f2")), ROWS))
    assert index(table, update=True).status == "updated"


def test_rows_appended_while_it_builds_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = make(f"{tmp_path}/lake/photos", clustered(ROWS, DIM).astype("f2"))
    late = clustered(300, DIM, seed=7).astype("f2")
    publish = index_publish.publish

    def appended_meanwhile(*arguments: Any) -> Any:
        append(table, rows_of(vectors_from_numpy(late), ROWS))
        return publish(*arguments)

    monkeypatch.setattr(index_publish, "publish", appended_meanwhile)
    term = json.loads(dataset_of(table).metadata[TERM_KEY])["number"]
    result = index(table, type="IVF_RQ")
    assert result.unindexed_rows == 300
    dataset = dataset_of(table)
    assert json.loads(dataset.metadata[TERM_KEY])["number"] == term + 1, "the embed job keeps its term"
    assert dataset.count_rows() == ROWS + 300
    assert missed(dataset, late[:30].astype("f4")) == 0


def test_rows_rewritten_while_it_builds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = make(f"{tmp_path}/lake/photos", clustered(ROWS, DIM).astype("f2"))
    publish = index_publish.publish

    def compacted_meanwhile(*arguments: Any) -> Any:
        dataset_of(table).optimize.compact_files()
        return publish(*arguments)

    monkeypatch.setattr(index_publish, "publish", compacted_meanwhile)
    with pytest.raises(Exception, match="compacted or replaced"):
        index(table, type="IVF_RQ")
    assert not dataset_of(table).describe_indices()


def test_packed_bits_by_hamming(tmp_path: Path) -> None:
    bits = np.packbits(clustered(ROWS, 128) > 0, axis=1)
    table = make(f"{tmp_path}/lake/photos", bits)
    record = index(table, type="IVF_FLAT").index
    assert record is not None
    assert (record.metric, record.recall >= 0.95) == ("hamming", True)
    nearest = {"column": "vector", "q": pa.array(bits[17]), "k": 1, "metric": "hamming", "nprobes": record.nprobes}
    assert dataset_of(table).to_table(columns=["id", "_distance"], nearest=nearest)["_distance"].to_pylist() == [0]
    with pytest.raises(UserError, match="packed bits"):
        index(table, type="IVF_RQ")


def test_several_vectors_a_row(tmp_path: Path) -> None:
    starts = np.arange(0, 3001, 3).astype("i4")
    vectors = clustered(3000, DIM).astype("f2")
    column = pa.ListArray.from_arrays(pa.array(starts), vectors_from_numpy(vectors))
    table = f"{tmp_path}/lake/photos"
    append(table, rows_of(column, 0), fragments=2)
    record = index(table, type="IVF_RQ", target_recall=0.8).index
    assert record is not None
    assert (record.metric, record.rows) == ("cosine", 1000)
    assert found(dataset_of(table), vectors[30:33].astype("f4"), nprobes=12, refine_factor=10)[0] == "i10"


def test_bad_wishes_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    table = make(f"{tmp_path}/lake/photos", clustered(100, DIM).astype("f2"))
    with pytest.raises(UserError, match="no such column"):
        index(table, scalar=("colour",))
    with pytest.raises(UserError, match="no such index"):
        index(table, scalar=("even=HASH",))
    with pytest.raises(UserError, match="no index of Pixlake's to update"):
        index(table, update=True)
    with pytest.raises(UserError, match="lower --num-partitions"):
        index(table, type="IVF_FLAT", num_partitions=101)
    with pytest.raises(ConfigError, match="leave out num_partitions"):
        load_config(IndexConfig, base={"table": table, "update": True, "num_partitions": 4})
    assert not dataset_of(table).describe_indices()


@pytest.mark.ray
@pytest.mark.slow
def test_workers_on_ray_build_the_same_index(tmp_path: Path) -> None:
    """What hands tasks to Ray is the same as of an export, whose test is a short one."""
    table = make(f"{tmp_path}/lake/photos", clustered(ROWS, DIM).astype("f2"))
    here = index(table, type="IVF_RQ").index
    there = index(table, type="IVF_RQ", cluster={"executor": "ray", "num_cpus": 2}).index
    assert here is not None
    assert there is not None
    assert (there.recall, there.nprobes, there.refine) == (here.recall, here.nprobes, here.refine)
    assert there.segments == 1
    assert there.model == here.model
    assert missed(dataset_of(table), clustered(20, DIM, seed=5)) == 0


@pytest.mark.s3
def test_a_table_on_s3(s3: Any) -> None:
    storage = StorageOptions(**s3.storage_options)
    table = make(f"s3://{s3.bucket('index')}/lake/photos", clustered(ROWS, DIM).astype("f2"), storage)
    result = index(table, type="IVF_RQ", table_storage=storage, scalar=("even",))
    assert result.index is not None
    dataset = dataset_of(table, storage)
    assert read_index_record(dataset, "vector") == result.index
    assert missed(dataset, clustered(10, DIM, seed=5)) == 0
    append(table, rows_of(vectors_from_numpy(clustered(50, DIM, seed=6).astype("f2")), ROWS), storage)
    assert index(table, update=True, table_storage=storage).status == "updated"
    assert missed(dataset_of(table, storage), clustered(10, DIM, seed=6)) == 0
