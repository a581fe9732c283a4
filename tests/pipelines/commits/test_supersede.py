"""New rows in place of old ones: a reader sees an image's old rows or its new ones, whatever happens on the way."""

import threading

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from made.regions import all_regions, read_regions, region_batch, region_committer, region_sink
from made.tables import batch, names_in, open_committer, positions, read, sink_of
from operators.base.rows import set_column
from pipelines.commits.superseded import PositionMap, Superseded
from pipelines.table.errors import FencedError
from pipelines.table.positions import position_keys


@pytest.fixture
def names(tmp_path):
    return names_in(tmp_path)


def at(shard, rows):
    rows = np.array(list(rows))
    return position_keys(np.full(len(rows), shard), rows)


def before(new, vectors=None, failures=None):
    """New positions, and the old ones of their vectors and of their failures."""
    none = PositionMap(np.zeros(0, np.int64), np.zeros(0, np.int64))
    maps = [none if old is None else PositionMap(new, old) for old in (vectors, failures)]
    return Superseded(vectors=maps[0], failures=maps[1])


def failed_as(rows, error_class):
    """The batch with every failure of this class."""
    classes = [error_class if each else None for each in rows["error_class"].to_pylist()]
    return set_column(rows, rows.schema.field("error_class"), pa.array(classes))


def ids(uri):
    return sorted(lance.dataset(uri).to_table(columns=["id"])["id"].to_pylist())


def test_new_rows_and_the_end_of_the_old_ones_are_one_version(names):
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(0, range(6)))])
    version = lance.dataset(names.vectors).version
    map_ = before(at(1, range(3)), at(0, range(3)))
    published = committer.supersede([sink_of(names).write(batch(1, range(3)))], map_)
    assert published.vectors == 3
    assert lance.dataset(names.vectors).version == version + 1
    assert read(names.vectors) == positions(0, range(3, 6)) + positions(1, range(3))
    assert committer.supersede([sink_of(names).write(batch(1, range(3)))], before(at(1, range(3)))).repeated == 3


def test_a_reader_sees_every_image_once_in_every_version(names):
    """The new rows have the ids of the old ones."""
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(0, range(40)))])
    seen, over = [], threading.Event()

    def look():
        while not over.is_set():
            seen.append(ids(names.vectors))

    reader = threading.Thread(target=look)
    reader.start()
    for start in range(0, 40, 5):
        rows = batch(1, range(start, start + 5))
        rows = set_column(rows, rows.schema.field("id"), pa.array([f"id-0-{r}" for r in range(start, start + 5)]))
        committer.supersede([sink_of(names).write(rows)], before(at(1, range(40)), at(0, range(40))))
    over.set()
    reader.join()
    assert seen
    assert all(each == sorted(f"id-0-{r}" for r in range(40)) for each in seen)


def test_an_image_that_cannot_be_embedded_any_more_loses_its_vectors_and_one_out_of_reach_keeps_them(names):
    committer, sink = open_committer(names), sink_of(names)
    committer.commit([sink.write(batch(0, range(4)))])
    map_ = before(at(1, range(4)), at(0, range(4)))
    committer.supersede([sink.write(failed_as(batch(1, [0], failed=[0]), "corrupt"))], map_)
    committer.supersede([sink.write(failed_as(batch(1, [1], failed=[1]), "timeout"))], map_)
    committer.supersede([sink.write(failed_as(batch(1, [2, 3], failed=[2]), "not_found"))], map_)
    assert read(names.vectors) == positions(0, [1, 2]) + positions(1, [3])
    assert read(names.failures) == positions(1, [0, 1, 2])


def test_failures_of_an_image_go_with_its_new_vectors_and_are_replaced_by_new_failures(names):
    committer, sink = open_committer(names), sink_of(names)
    committer.commit([sink.write(batch(0, range(4), failed=range(4)))])
    map_ = before(at(1, range(4)), failures=at(0, range(4)))
    committer.supersede([sink.write(batch(1, range(2))), sink.write(batch(1, [2], failed=[2]))], map_)
    assert read(names.vectors) == positions(1, range(2))
    assert read(names.failures) == positions(1, [2]) + positions(0, [3])


def test_old_rows_that_another_tool_deleted_or_moved_are_no_hindrance(names):
    committer, sink = open_committer(names), sink_of(names)
    committer.commit([sink.write(batch(0, range(6)))])
    lance.dataset(names.vectors).delete("row = 1")
    lance.dataset(names.vectors).update({"label": "'theirs'"}, where="row = 2")
    lance.dataset(names.vectors).optimize.compact_files()
    committer.supersede([sink.write(batch(1, range(4)))], before(at(1, range(4)), at(0, range(4))))
    assert read(names.vectors) == positions(0, [4, 5]) + positions(1, range(4))


@pytest.mark.parametrize("lost", [1, 2])
def test_a_lost_answer_supersedes_once(names, monkeypatch, lost):
    committer, sink = open_committer(names), sink_of(names)
    committer.commit([sink.write(batch(0, range(4)))])
    receipt, real, calls = sink.write(batch(1, range(4), failed=[3])), lance.LanceDataset.commit, []

    def lose(*args, **kwargs):
        done = real(*args, **kwargs)
        calls.append(done)
        if len(calls) == lost:
            raise OSError("the answer is lost")
        return done

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(lose))
    committer.supersede([receipt], before(at(1, range(4)), at(0, range(4))))
    assert read(names.vectors) == positions(0, [3]) + positions(1, range(3))
    assert read(names.failures) == positions(1, [3])


def test_a_stale_holder_supersedes_nothing(names):
    old = open_committer(names, "old")
    old.commit([sink_of(names).write(batch(0, range(4)))])
    receipt = sink_of(names).write(batch(1, range(4)))
    open_committer(names, "new")
    with pytest.raises(FencedError):
        old.supersede([receipt], before(at(1, range(4)), at(0, range(4))))
    assert read(names.vectors) == positions(0, range(4))


@pytest.mark.parametrize("layout", ["rows", "multivector"])
def test_all_regions_of_an_image_go_and_come_together(tmp_path, layout):
    names = names_in(tmp_path)
    committer, sink = region_committer(names, layout), region_sink(names, layout)
    committer.commit([sink.write(region_batch(0, range(5)))])
    committer.supersede([sink.write(region_batch(1, range(3)))], before(at(1, range(3)), at(0, range(3))))
    assert read_regions(names, layout) == all_regions(0, [3, 4]) | all_regions(1, range(3))


def test_rows_whose_vectors_are_there_are_written_nowhere_and_told_in_the_receipt(names):
    committer, rows = open_committer(names), batch(1, range(4))
    classes = pa.array([None, "same_bytes", None, "same_bytes"])
    rows = set_column(rows, rows.schema.field("error_class"), classes)
    receipt = sink_of(names).write(rows)
    committer.supersede([receipt], before(at(1, range(4)), at(0, range(4))))
    assert read(names.vectors) == positions(1, [0, 2])
    assert committer.ledger.skipped.contains(at(1, range(4))).tolist() == [False, True, False, True]
    same = pa.ipc.open_stream(receipt.same_rows).read_all()
    assert same["id"].to_pylist() == ["id-1-1", "id-1-3"]
    assert {"etag", "size_bytes", "sha256", "label", "meta"} <= set(same.column_names)
    assert "vector" not in same.column_names
    assert not pc.any(pc.match_substring(same["uri"], "SECRET")).as_py()


def test_a_failure_says_the_version_that_failed(names):
    committer, rows = open_committer(names), batch(0, range(3), failed=range(3))
    rows = set_column(rows, pa.field("etag", pa.string()), pa.array([None, 'W/"e"', "e"]))
    rows = rows.append_column(pa.field("_pixlake_version", pa.string()), pa.array([None, None, "as the source says"]))
    committer.commit([sink_of(names).write(rows)])
    found = lance.dataset(names.failures).to_table(columns=["row", "source_version"]).sort_by("row")
    assert found["source_version"].to_pylist() == [None, "e", "as the source says"]


def test_a_failures_table_of_an_earlier_release_gets_the_column_and_stays_open_to_it(names):
    open_committer(names).commit([sink_of(names).write(batch(0, range(3), failed=[1]))])
    lance.dataset(names.failures).drop_columns(["source_version"])
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(1, range(3), failed=[1]))])
    found = lance.dataset(names.failures).to_table(columns=["shard", "source_version"])
    assert sorted(found["shard"].to_pylist()) == [0, 1]
    assert open_committer(names).commits == 4, "two claims, each with its barrier"
