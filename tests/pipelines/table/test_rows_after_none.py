"""A table whose rows another tool has deleted, all of them: what it had besides them stays, and so does the fence."""

import lance
import lancedb
import pytest

from made.stable_row_ids import make_with_stable_row_ids
from made.tables import batch, names_in, open_committer, positions, read, sink_of, vector_of
from pipelines.table.errors import FencedError
from pipelines.table.fenced_operations import next_fragment_id, varint_field


@pytest.fixture
def names(tmp_path):
    return names_in(tmp_path)


def index_by_plain_lancedb(names):
    table = lancedb.connect(names.database).open_table(names.name)
    table.create_index("vector", config=lancedb.index.IvfFlat(distance_type="cosine", num_partitions=2))
    table.create_index("id", config=lancedb.index.BTree())
    table.create_index("uri", config=lancedb.index.FTS())
    return table


INDEXES = ["id_idx", "uri_idx", "vector_idx"]


def check_searches(names, shard, row):
    """By each of the indexes, by plain lancedb: the row of that position, and none of those that were there before."""
    table = lancedb.connect(names.database).open_table(names.name)
    assert sorted(index.name for index in table.list_indices()) == INDEXES
    nearest = table.search(vector_of(shard, row).astype("f4")).distance_type("cosine").limit(3).to_arrow()
    assert nearest["id"].to_pylist()[0] == f"id-{shard}-{row}"
    assert set(nearest["shard"].to_pylist()) == {shard}
    assert table.search().where(f"id = 'id-{shard}-{row}'").to_arrow()["row"].to_pylist() == [row]
    assert table.search().where(f"id = 'id-0-{row}'").to_arrow().num_rows == 0
    words = table.search("jpg", query_type="fts").limit(100).to_arrow()
    assert set(words["shard"].to_pylist()) == {shard}


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
def test_indexes_are_kept_and_find_the_new_rows_and_no_old_one(names, again):
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(0, range(300)))])
    table = index_by_plain_lancedb(names)
    table.delete("true")
    if again:
        committer.commit([sink_of(names).write(batch(1, range(40)))])
        lancedb.connect(names.database).open_table(names.name).delete("true")
    committer.commit([sink_of(names).write(batch(2, range(30))), sink_of(names).write(batch(2, range(30, 60)))])
    check_searches(names, 2, 35)
    committer.commit([sink_of(names).write(batch(2, range(60, 70)))])
    dataset = lance.dataset(names.vectors)
    numbers = [fragment.fragment_id for fragment in dataset.get_fragments()]
    assert (len(numbers), min(numbers)) == (3, 2 if again else 1), "no number was had by a fragment before"
    dataset.optimize.optimize_indices()
    check_searches(names, 2, 65)
    lance.dataset(names.vectors).optimize.compact_files()
    check_searches(names, 2, 65)
    assert read(names.vectors) == positions(2, range(70))
    assert not committer.notices


def test_a_table_with_stable_row_ids_says_which_indexes_went(names):
    committer = open_committer(names)
    del committer
    make_with_stable_row_ids(names)
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(0, range(300)))])
    index_by_plain_lancedb(names).delete("true")
    committer.commit([sink_of(names).write(batch(2, range(30)))])
    [notice] = committer.notices
    assert all(name in notice for name in INDEXES)
    assert read(names.vectors) == positions(2, range(30))


def test_a_stale_holder_publishes_nothing_into_a_table_that_was_emptied(names):
    old = open_committer(names, "old")
    old.commit([sink_of(names).write(batch(0, range(300)))])
    receipt = sink_of(names).write(batch(1, range(4)))
    index_by_plain_lancedb(names).delete("true")
    new = open_committer(names, "new")
    with pytest.raises(FencedError, match="run new took the table over"):
        old.commit([receipt])
    assert read(names.vectors).total() == 0
    new.commit([receipt])
    assert read(names.vectors) == positions(1, range(4))


def test_a_commit_under_way_does_not_land_after_the_barrier_in_a_table_that_was_emptied(names, monkeypatch):
    old = open_committer(names, "old")
    old.commit([sink_of(names).write(batch(0, range(300)))])
    receipt = sink_of(names).write(batch(1, range(4)))
    index_by_plain_lancedb(names).delete("true")
    real, claimed = lance.LanceDataset.commit, []

    def claim_first(*args, **kwargs):
        if not claimed:
            claimed.append(True)
            claimed.append(open_committer(names, "new"))
        return real(*args, **kwargs)

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(claim_first))
    with pytest.raises(FencedError):
        old.commit([receipt])
    assert read(names.vectors).total() == 0
    claimed[1].commit([receipt])
    assert read(names.vectors) == positions(1, range(4))


def test_rows_that_another_tool_adds_to_an_emptied_table_meanwhile_stay(names, monkeypatch):
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(0, range(3)))])
    rows = lance.dataset(names.vectors).to_table()
    lance.dataset(names.vectors).delete("true")
    real, added = lance.LanceDataset.commit, []

    def add_first(*args, **kwargs):
        if not added:
            added.append(True)
            lance.write_dataset(rows, names.vectors, mode="append")
        return real(*args, **kwargs)

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(add_first))
    committer.commit([sink_of(names).write(batch(1, range(4)))])
    assert read(names.vectors) == positions(0, range(3)) + positions(1, range(4))


def test_the_next_fragment_number_counts_those_that_are_gone(names):
    committer = open_committer(names)
    assert next_fragment_id(lance.dataset(names.vectors)) == 0
    committer.commit([sink_of(names).write(batch(0, [row])) for row in range(200)])
    lance.dataset(names.vectors).delete("true")
    assert next_fragment_id(lance.dataset(names.vectors)) == 200


def test_a_number_is_read_past_every_kind_of_field():
    message = b"\x09" + b"\x58" * 8 + b"\x0d" + b"\x58" * 4 + b"\x12\x02\x58\x01" + b"\x58\xac\x02" + b"\x60\x07"
    assert (varint_field(message, 11), varint_field(message, 12), varint_field(message, 3)) == (300, 7, None)
