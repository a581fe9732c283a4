"""What decides reads the rows themselves: each test has an index that would have it otherwise."""

import lance
import pyarrow as pa
import pytest

from made.lying_index import lie_about
from made.tables import batch, names_in, open_committer, positions, read, sink_of
from pipelines.ledger.ledger import read_positions
from pipelines.scan.plain import plain_count, plain_scan


@pytest.fixture
def names(tmp_path):
    """Rows 0 to 9 of two shards in three commits with failures; an index of either table knows the first alone."""
    names = names_in(tmp_path)
    committer = open_committer(names)
    for shard, rows, failed in ((0, range(5), [1]), (0, range(5, 10), [6]), (1, range(10), [2, 3])):
        committer.commit([sink_of(names).write(batch(shard, rows, failed=failed))])
    lie_about(names.vectors, ["shard", "row", "id"])
    lie_about(names.failures, ["shard", "row", "error_class"])
    return names


def test_the_index_would_have_it_otherwise(names):
    assert lance.dataset(names.vectors).count_rows("shard >= 0") == 4
    assert lance.dataset(names.failures).count_rows("error_class = 'not_found'") == 1


def test_counts_and_scans_are_of_the_rows(names):
    vectors = lance.dataset(names.vectors)
    assert plain_count(vectors, "shard = 1") == 8
    assert [plain_count(fragment, "row < 20") for fragment in vectors.get_fragments()] == [4, 4, 8]
    assert plain_count(vectors, "shard = 1", fragments=vectors.get_fragments()[:2]) == 0
    assert sum(found.num_rows for found in plain_scan(vectors, ["id"], "row IN (0, 9)")) == 4
    assert sum(found.num_rows for found in plain_scan(vectors, ["id"], "shard = 1", limit=3)) == 3


def test_the_ledger_has_every_position(names):
    assert read_positions(lance.dataset(names.vectors), 0, 2).count == 16
    committer = open_committer(names)
    assert (committer.ledger.vectors.count, committer.ledger.failures.count) == (16, 4)
    assert committer.ledger.done(1, 10).all()
    assert committer.open_failures("not_found").count == 4


def test_a_retry_takes_every_failure_out(names):
    committer = open_committer(names)
    published = committer.move([sink_of(names).write(batch(1, [2, 3])), sink_of(names).write(batch(0, [1, 6]))])
    assert (published.vectors, published.failures) == (4, 0)
    assert read(names.failures).total() == 0
    assert read(names.vectors) == positions(0, range(10)) + positions(1, range(10))


def test_ids_to_skip_are_all_of_them(names):
    ids = [each for found in open_committer(names).read_ids("shard >= 0") for each in found.to_pylist()]
    assert len(ids) == 16


def test_a_commit_whose_answer_was_lost_is_seen_to_have_landed(names, monkeypatch):
    """The index that was built before the commit says that it covers it, and has none of its rows."""
    committer = open_committer(names)
    receipt = sink_of(names).write(batch(2, range(4)))
    real, lost = lance.LanceDataset.commit, []

    def lose_the_answer(*args, **kwargs):
        landed = real(*args, **kwargs)
        if not lost:
            lost.append(True)
            raise OSError("the connection is gone")
        return landed

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(lose_the_answer))
    committer.commit([receipt])
    assert read(names.vectors)[(2, 0)] == 1


@pytest.mark.parametrize("read", [plain_count, lambda held, where: list(plain_scan(held, ["row"], where))])
def test_a_folder_of_data_that_is_no_folder_any_more_is_storage_that_fails(tmp_path, read):
    dataset = lance.write_dataset(pa.table({"row": [1, 2, 3]}), tmp_path / "t.lance")
    data = tmp_path / "t.lance" / "data"
    data.rename(tmp_path / "away")
    data.write_text("no folder")
    with pytest.raises(OSError, match=r"t\.lance: cannot be read: .*Not a directory"):
        read(dataset, "row > 1")
