"""Rows written again with new values in their record: all else stays, and what others do meanwhile is not lost."""

from datetime import UTC, datetime

import lance
import lancedb
import numpy as np
import pyarrow as pa
import pytest

from made.regions import num_regions, region_batch, region_committer, region_sink
from made.tables import batch, names_in, open_committer, positions, read, sink_of, vector_of
from operators.base.columns import DELETED_AT
from pipelines.carry import carry
from pipelines.table.errors import FencedError
from pipelines.table.fenced_table import FencedTable
from pipelines.table.positions import position_keys
from pipelines.table.tasks import tasks_here

NOW = datetime(2026, 11, 29, tzinfo=UTC)


@pytest.fixture
def names(tmp_path):
    return names_in(tmp_path)


def at(shard, rows):
    rows = np.array(list(rows))
    return position_keys(np.full(len(rows), shard), rows)


def values(source, target=None, **columns):
    target = source if target is None else target
    return pa.table({"from_key": source, "to_key": target, **columns})


def rows_of(names):
    return {(r["shard"], r["row"]): r for r in lance.dataset(names.vectors).to_table().to_pylist()}


def test_only_the_values_that_are_given_change(names):
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(0, range(8)))])
    lance.dataset(names.vectors).add_columns({"theirs": "cast(`row` as double) / 2"})
    before = rows_of(names)
    new = {"id": pa.array(["a", "b"]), "etag": pa.array(["new", None]), "size_bytes": pa.array([7, 8], pa.int64())}
    version = lance.dataset(names.vectors).version
    done = committer.carry(values(at(0, [2, 5]), **new), tasks_here)
    assert (done.carried.tolist(), done.gone) == (at(0, [2, 5]).tolist(), 0)
    assert lance.dataset(names.vectors).version == version + 1
    after = rows_of(names)
    assert after.pop((0, 2)) == before.pop((0, 2)) | {"id": "a", "etag": "new", "size_bytes": 7}
    assert after.pop((0, 5)) == before.pop((0, 5)) | {"id": "b", "etag": None, "size_bytes": 8}
    assert after == before
    assert lance.dataset(names.vectors).schema.field("vector").metadata


@pytest.mark.parametrize("stable", [False, True])
def test_rows_are_found_whatever_their_row_ids_are(names, monkeypatch, stable):
    if stable:
        monkeypatch.setattr(FencedTable, "create_or_open", classmethod(_create_stable))
    committer = open_committer(names)
    for shard in range(3):
        committer.commit([sink_of(names).write(batch(shard, range(6)))])
    assert lance.dataset(names.vectors).has_stable_row_ids == stable
    lance.dataset(names.vectors).delete("row = 0")
    lance.dataset(names.vectors).optimize.compact_files()
    committer.carry(values(at(1, [4, 1]), etag=pa.array(["four", "one"])), tasks_here)
    rows = rows_of(names)
    assert (rows[1, 4]["etag"], rows[1, 1]["etag"]) == ("four", "one")
    assert all(np.array_equal(np.float16(r["vector"]), vector_of(*place)) for place, r in rows.items())
    assert read(names.vectors) == sum((positions(s, range(1, 6)) for s in range(3)), positions(0, []))


def _create_stable(cls, uri, schema, storage):
    if lance.dataset(uri) if _is_there(uri) else None:
        return cls(uri, lance.dataset(uri), schema, storage), False
    made = lance.write_dataset(schema.empty_table(), uri, enable_stable_row_ids=True, data_storage_version="2.2")
    return cls(uri, made, schema, storage), True


def _is_there(uri):
    try:
        lance.dataset(uri)
    except ValueError:
        return False
    return True


def test_a_copy_stands_beside_its_original_once(names):
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(0, range(3)))])
    copies = values(at(0, [1, 1]), at(7, [0, 1]), id=pa.array(["x", "y"]))
    assert committer.carry(copies, tasks_here).carried.tolist() == at(7, [0, 1]).tolist()
    assert not len(committer.carry(copies, tasks_here).carried), "again, after an answer that was lost"
    rows = rows_of(names)
    assert [rows[place]["id"] for place in ((0, 1), (7, 0), (7, 1))] == ["id-0-1", "x", "y"]
    assert rows[7, 0]["vector"] == rows[0, 1]["vector"]
    assert committer.ledger.vectors.contains(at(7, [0, 1])).all()


@pytest.mark.parametrize("layout", ["rows", "multivector"])
def test_all_regions_of_an_image_are_carried_and_called_by_its_new_id(tmp_path, layout):
    names = names_in(tmp_path)
    committer, sink = region_committer(names, layout), region_sink(names, layout)
    committer.commit([sink.write(region_batch(0, range(6)))])
    before = lance.dataset(names.vectors).to_table(filter="row = 3").drop_columns(["id"])
    committer.carry(values(at(0, [3]), id=pa.array(["new"])), tasks_here)
    after = lance.dataset(names.vectors).to_table(filter="row = 3")
    assert set(after["id"].to_pylist()) == {"new"}
    if layout == "rows":
        assert after["region_id"].to_pylist() == [f"new#{n}" for n in range(num_regions(3))]
        before, after = before.drop_columns(["region_id"]), after.drop_columns(["region_id"])
    assert after.drop_columns(["id"]).equals(before)


def test_marking_and_unmarking(names):
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(0, range(4)))])
    committer.add_deleted_at()
    committer.add_deleted_at()
    committer.carry(values(at(0, [1, 2]), deleted_at=pa.array([NOW, NOW], DELETED_AT.type)), tasks_here)
    assert {place[1] for place, row in rows_of(names).items() if row["deleted_at"] is not None} == {1, 2}
    committer.carry(values(at(0, [2]), deleted_at=pa.array([None], DELETED_AT.type)), tasks_here)
    assert {place[1] for place, row in rows_of(names).items() if row["deleted_at"] == NOW} == {1}


MEANWHILE = {
    "delete": lambda t: t.delete("row = 2"),
    "update": lambda t: t.update(where="row = 2", values={"label": "theirs"}),
    "optimize": lambda t: t.optimize(),
    "add a column": lambda t: t.add_columns({"theirs": "cast(`row` as double)"}),
    "drop a column": lambda t: t.drop_columns(["format"]),
    "restore": lambda t: (t.checkout(t.version - 1), t.restore()),
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_what_lancedb_does_between_reading_and_commit_is_not_lost(names, what):
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(0, range(6)))])
    committer.commit([sink_of(names).write(batch(1, range(6)))])
    committer.carry(values(at(0, [5]), etag=pa.array(["before"])), tasks_here)
    calls = []

    def execute(task, work):
        done = list(tasks_here(task, work))
        if not calls:
            MEANWHILE[what](lancedb.connect(names.database).open_table("photos"))
        calls.append(work)
        return iter(done)

    done = committer.carry(values(at(0, [2, 3]), etag=pa.array(["two", "three"])), execute)
    rows = rows_of(names)
    assert rows[0, 3]["etag"] == "three"
    assert len(calls) == (1 if what == "restore" else 2), "read again, unless the row stands where it stood"
    if what == "delete":
        assert (0, 2) not in rows
        assert (done.carried.tolist(), done.gone) == (at(0, [3]).tolist(), 1)
        return
    assert rows[0, 2]["etag"] == "two"
    assert (done.carried.tolist(), done.gone) == (at(0, [2, 3]).tolist(), 0)
    if what == "update":
        assert rows[0, 2]["label"] == "theirs"
    if what == "add a column":
        assert rows[0, 2]["theirs"] == 2.0
    if what == "drop a column":
        assert "format" not in rows[0, 2]
    assert (rows[0, 5]["etag"] == "before") == (what != "restore")
    assert len(rows) == 12


def test_a_delete_elsewhere_in_the_fragment_does_not_read_again(names):
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(0, range(6)))])
    calls = []

    def execute(task, work):
        lancedb.connect(names.database).open_table("photos").delete("row = 5")
        calls.append(work)
        return tasks_here(task, work)

    committer.carry(values(at(0, [2]), etag=pa.array(["two"])), execute)
    assert len(calls) == 1
    assert read(names.vectors) == positions(0, range(5))


def test_a_lost_answer_carries_once(names, monkeypatch):
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(0, range(4)))])
    real, calls = lance.LanceDataset.commit, []

    def lose(*args, **kwargs):
        done = real(*args, **kwargs)
        calls.append(done)
        if len(calls) == 1:
            raise OSError("the answer is lost")
        return done

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(lose))
    committer.carry(
        values(at(0, [1, 1]), at(0, [1]).tolist() + at(9, [0]).tolist(), id=pa.array(["a", "b"])), tasks_here
    )
    assert read(names.vectors) == positions(0, range(4)) + positions(9, [0])
    assert len(calls) == 1


def test_a_stale_holder_carries_nothing(names):
    old = open_committer(names, "old")
    old.commit([sink_of(names).write(batch(0, range(4)))])
    open_committer(names, "new")
    with pytest.raises(FencedError):
        old.carry(values(at(0, [1]), id=pa.array(["a"])), tasks_here)
    assert rows_of(names)[0, 1]["id"] == "id-0-1"


def test_many_rows_are_written_in_pieces_and_published_in_one_commit(names, monkeypatch):
    monkeypatch.setattr(carry, "MOST_PIECE_ROWS", 3)
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(0, range(20)))])
    version = lance.dataset(names.vectors).version
    committer.carry(values(at(0, range(10)), etag=pa.array([f"e{n}" for n in range(10)])), tasks_here)
    assert lance.dataset(names.vectors).version == version + 1
    assert [rows_of(names)[0, n]["etag"] for n in range(10)] == [f"e{n}" for n in range(10)]
