"""`pixlake upkeep`: what is due is done, once, and searches find afterwards what they found before."""

import shutil
from pathlib import Path
from typing import Any

import lance
import lancedb
import pytest
from lance.dataset import DatasetOptimizer
from lancedb.index import FTS

from end_to_end.command import pixlake_here
from jobs import index as index_job
from jobs.config.load import ConfigError, load_config
from jobs.index import IndexConfig
from jobs.index import run as index
from jobs.upkeep import UpkeepConfig, UpkeepReport, as_text, run
from made.stable_row_ids import make_with_stable_row_ids
from made.table import Made
from made.table import make as make_images
from made.vectors import append, clustered, dataset_of, found, make, rows_of
from operators.base.arrays import vectors_from_numpy
from operators.base.errors import UserError
from operators.storage.stores import NO_OPTIONS
from pipelines.commits.sink import FAILURES_SCHEMA
from pipelines.filter_index.trust import doubts
from pipelines.index.records import read_index_record, unindexed_rows
from pipelines.table.errors import TableError
from pipelines.table.fenced_table import FencedTable
from pipelines.table.names import TableNames
from pipelines.table.table import Table
from pipelines.versions.tags import list_tags

ROWS, NEW, DIM = 2000, 300, 32
LOCAL = {"executor": "local"}


def upkeep(table: str, **values: Any) -> UpkeepReport:
    return run(UpkeepConfig(table=table, cluster=LOCAL, **values))


def grown(folder: Path, kind: str | None = "IVF_RQ", *, stable: bool = False) -> str:
    """A table that was indexed, and to which rows have come in small fragments, and from which rows are gone."""
    table = f"{folder}/lake/photos"
    names, vectors = TableNames.from_table(table), clustered(ROWS, DIM).astype("f2")
    for uri, schema in (
        (names.failures, FAILURES_SCHEMA),
        (names.vectors, rows_of(vectors_from_numpy(vectors[:1]), 0).schema),
    ):
        FencedTable.create_or_open(uri, schema, NO_OPTIONS)
    if stable:
        make_with_stable_row_ids(names)
    make(table, vectors)
    if kind:
        index(IndexConfig(table=table, type=kind, cluster=LOCAL, num_partitions=8, queries=40, scalar=("even",)))
    grow(table, ROWS)
    return table


@pytest.fixture(scope="module")
def indexed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a table with an index: to be copied, not changed."""
    folder = tmp_path_factory.mktemp("grown")
    grown(folder)
    return folder


@pytest.fixture
def table(indexed_once: Path, tmp_path: Path) -> str:
    """What `grown` makes."""
    shutil.copytree(indexed_once / "lake", tmp_path / "lake")
    return f"{tmp_path}/lake/photos"


def grow(table: str, first: int) -> None:
    vectors = vectors_from_numpy(clustered(NEW, DIM, seed=first).astype("f2"))
    append(table, rows_of(vectors, first), fragments=6)
    dataset_of(table).delete(f"row >= {first - ROWS} AND row < {first - ROWS + NEW}")


def recall(table: str) -> float:
    """Index recall@10 with the settings that the record gives."""
    dataset = dataset_of(table)
    record = read_index_record(dataset, "vector")
    assert record is not None
    settings = {"nprobes": record.nprobes} | ({"refine_factor": record.refine} if record.refine else {})
    pairs = [
        (found(dataset, query, use_index=False), found(dataset, query, **settings))
        for query in clustered(40, DIM, seed=5)
    ]
    return sum(len(set(true) & set(seen)) for true, seen in pairs) / sum(len(true) for true, _ in pairs)


@pytest.mark.parametrize("kind", ["IVF_RQ", "IVF_PQ", "IVF_HNSW_SQ"])
def test_all_rows_are_indexed_and_found_as_before(tmp_path: Path, kind: str) -> None:
    table = grown(tmp_path, kind)
    before = {row["id"] for row in dataset_of(table).to_table(columns=["id"]).to_pylist()}
    report = upkeep(table)
    assert (report.vectors.fragments_before, report.vectors.fragments) == (10, 1)
    assert (report.indexes, report.unindexed_rows, report.problems) == ({"vector": "updated"}, {"vector": 0}, [])
    dataset = dataset_of(table)
    assert dataset.stats.index_stats(read_index_record(dataset, "vector").name)["num_unindexed_rows"] == 0  # type: ignore[union-attr]
    assert doubts(dataset) == {}, "filters are answered by indexes again"
    assert {row["id"] for row in dataset.to_table(columns=["id"]).to_pylist()} == before
    assert recall(table) >= 0.9
    for number in (ROWS, ROWS + NEW - 1, NEW):
        assert dataset.to_table(columns=["row"], filter=f"id = 'i{number}'")["row"].to_pylist() == [number]
    assert dataset.count_rows("id = 'i0'") == 0
    opened = lancedb.connect(f"{tmp_path}/lake").open_table("photos")
    for query in clustered(5, DIM, seed=6):
        search = opened.search(query).metric("cosine").nprobes(8).refine_factor(20).limit(10)
        assert "ANN" in search.explain_plan(verbose=True)
        assert [row["id"] for row in search.to_list()] == found(dataset, query, nprobes=8, refine_factor=20)


def test_where_nothing_is_due_nothing_is_committed(table: str) -> None:
    first = upkeep(table)
    files = sorted(path for path in Path(f"{table}.lance").rglob("*") if path.is_file())
    second = upkeep(table)
    assert second.version == first.version
    assert sorted(path for path in Path(f"{table}.lance").rglob("*") if path.is_file()) == files
    assert second.tag == first.tag
    assert second.indexes == {}
    assert "nothing to compact" in as_text(second)


@pytest.mark.parametrize("stable", [False, True])
def test_nights_go_by(tmp_path: Path, stable: bool) -> None:
    """Small tables have their indexes built again each time, with the same model, and so come to one fragment."""
    table = grown(tmp_path, stable=stable)
    assert dataset_of(table).has_stable_row_ids == stable
    for night in range(3):
        report = upkeep(table, set_tag=False)
        assert report.vectors.fragments == 1
        assert report.problems == []
        assert report.unindexed_rows == {"vector": 0}
        assert recall(table) >= 0.9
        assert dataset_of(table).count_rows() == ROWS
        grow(table, ROWS + NEW * (night + 1))


def test_what_a_kill_left_undone_is_done_by_the_next(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compacted, and killed before the indexes were asked again: filters are then answered by scans."""
    run_index, calls = index_job.run, list[IndexConfig]()

    def killed_at_the_second(config: IndexConfig) -> object:
        calls.append(config)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run_index(config)

    with monkeypatch.context() as patch:
        patch.setattr(index_job, "run", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            upkeep(table)
    dataset = dataset_of(table)
    assert (len(dataset.get_fragments()), unindexed_rows(dataset, "vector")) == (1, 0)
    assert set(doubts(dataset)) == {"id", "uri", "even"}
    assert upkeep(table).indexes == {"vector": "up_to_date"}
    assert doubts(dataset_of(table)) == {}


def test_filter_indexes_alone_are_brought_up_too(tmp_path: Path) -> None:
    table = grown(tmp_path, None)
    index(IndexConfig(table=table, cluster=LOCAL, scalar=("even",)))
    grow(table, ROWS + NEW)
    assert upkeep(table).indexes == {"vector": "filters_alone"}
    assert doubts(dataset_of(table)) == {}
    assert upkeep(table).indexes == {}


def test_a_table_without_indexes_gets_none(tmp_path: Path) -> None:
    table = grown(tmp_path, None)
    assert upkeep(table).indexes == {}
    assert dataset_of(table).describe_indices() == []
    assert len(dataset_of(table).get_fragments()) == 1


def test_a_text_index_of_another_tool_gets_the_new_rows(tmp_path: Path) -> None:
    table = grown(tmp_path, None)
    images = lancedb.connect(f"{tmp_path}/lake").open_table("photos")
    images.create_index("uri", config=FTS())
    grow(table, ROWS + NEW)
    report = upkeep(table)
    assert report.other_indexes == ["uri_idx"]
    dataset = dataset_of(table)
    assert dataset.stats.index_stats("uri_idx")["num_unindexed_rows"] == 0
    assert dataset.to_table(columns=["row"], full_text_query=f"i{ROWS + NEW}")["row"].to_pylist() == [ROWS + NEW]
    assert "uri_idx, of another tool: rows were added to it" in as_text(report)
    assert upkeep(table).other_indexes == []


def test_an_index_of_another_tool_that_lance_does_not_bring_up_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = grown(tmp_path, None)
    lancedb.connect(f"{tmp_path}/lake").open_table("photos").create_index("uri", config=FTS())
    grow(table, ROWS + NEW)

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no tokenizer")

    monkeypatch.setattr(DatasetOptimizer, "optimize_indices", fails)
    report = upkeep(table)
    assert report.other_indexes == []
    assert report.problems == [f"{table}.lance: index uri_idx, of another tool, was not brought up: no tokenizer"]
    assert report.tag is not None


def test_an_index_that_finds_too_little_is_told_and_the_rest_is_done(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.index.recall.IndexTrial.recall", lambda self, settings: 0.5, raising=True)
    ended = pixlake_here("upkeep", table, "--set", "cluster.executor=local", "--json")
    assert ended.code == 1
    [problem] = ended.json["problems"]
    assert "index recall@10 stays under" in problem
    assert ended.json["vectors"]["fragments"] == 2
    assert ended.json["tag"] in {tag.name for tag in list_tags(Table.of(table))}


def test_what_another_process_was_in_the_way_of_is_tried_once_more(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run_index, calls = index_job.run, list[IndexConfig]()

    def in_the_way_at_first(config: IndexConfig) -> object:
        calls.append(config)
        if len(calls) == 1:
            raise TableError("the index was built and not published: another index was made meanwhile")
        return run_index(config)

    monkeypatch.setattr(index_job, "run", in_the_way_at_first)
    report = upkeep(table)
    assert report.problems == []
    assert report.indexes == {"vector": "updated"}
    assert report.unindexed_rows == {"vector": 0}


def test_other_tools_in_between(table: str, tmp_path: Path) -> None:
    upkeep(table, tag="mine")
    images = lancedb.connect(f"{tmp_path}/lake").open_table("photos")
    images.optimize()
    images.update(where=f"row = {ROWS}", values={"uri": "/other.jpg"})
    report = upkeep(table, tag="then")
    assert report.problems == []
    assert report.unindexed_rows == {"vector": 0}
    dataset = dataset_of(table)
    assert dataset.to_table(columns=["row"], filter="uri = '/other.jpg'")["row"].to_pylist() == [ROWS]
    images.checkout("mine")
    assert images.count_rows("uri = '/other.jpg'") == 0
    assert images.count_rows() == ROWS


def test_the_state_is_named_as_asked(tmp_path: Path) -> None:
    made = make_images(tmp_path)
    assert upkeep(made.table, tag="first").tag == "first"
    assert upkeep(made.table, set_tag=False).tag is None
    lance.dataset(f"{made.table}.lance").delete("id = 'red'")
    with pytest.raises(UserError, match="the tag first is there and means another state"):
        upkeep(made.table, tag="first")


def test_bad_values_are_refused_before_anything_is_done(made: Made) -> None:
    for values, said in (
        ({"keep_versions": "5h"}, "--keep-versions 5h: a number of versions, 1 or more, or an age"),
        ({"tag": "a b"}, "tag 'a b': a tag's name is of letters"),
    ):
        with pytest.raises(ConfigError, match=said):
            load_config(UpkeepConfig, base={"table": made.table, **values})
    ended = pixlake_here("upkeep", f"{made.folder}/lake/none")
    assert (ended.code, "there is none at" in ended.err) == (2, True)
