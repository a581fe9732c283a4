import lance
import numpy as np
import pyarrow as pa
import pytest

from made.tables import batch, names_in, open_committer, sink_of
from pipelines.ledger.ledger import Ledger, read_positions
from pipelines.table.errors import CorruptTableError
from pipelines.table.positions import position_keys


def test_the_ledger_reads_only_the_shards_it_is_asked_for(tmp_path):
    names = names_in(tmp_path)
    committer = open_committer(names)
    sink = sink_of(names)
    committer.commit([sink.write(batch(s, range(s + 1), failed=[0])) for s in range(6)])
    ledger = committer.load_ledger(2, 3)
    assert (ledger.vectors.count, ledger.failures.count) == (2 + 3 + 4, 3)
    assert ledger.done(4, 8).tolist() == [True] * 5 + [False] * 3
    assert not ledger.done(5, 6).any()


def test_the_audit_counts_what_is_missing_and_names_some(tmp_path):
    names = names_in(tmp_path)
    committer = open_committer(names)
    sink = sink_of(names)
    committer.load_ledger(3, 2)
    committer.commit([sink.write(batch(3, [0, 1, 4], failed=[1], skipped=[4])), sink.write(batch(4, range(5)))])
    audit = committer.ledger.audit([5, 6])
    assert (audit.expected, audit.vectors, audit.failures, audit.skipped, audit.missing) == (11, 6, 1, 1, 3)
    assert audit.missing_examples == ((3, 2), (3, 3), (4, 5))
    assert not audit.complete
    committer.commit([sink.write(batch(3, [2, 3])), sink.write(batch(4, [5]))])
    assert committer.ledger.audit([5, 6]).complete


def test_rows_beyond_the_manifest_are_told(tmp_path):
    names = names_in(tmp_path)
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(0, range(9), failed=[8]))])
    committer.load_ledger(0, 1)
    with pytest.raises(CorruptTableError, match=r"outside of the manifest: \(shard, row\) \(0, 7\), \(0, 8\); "):
        committer.ledger.audit([7])


def test_skipped_rows_are_forgotten_by_the_next_run(tmp_path):
    names = names_in(tmp_path)
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(0, range(4), skipped=[1, 2]))])
    assert committer.ledger.done(0, 4).all()
    assert open_committer(names).ledger.done(0, 4).tolist() == [True, False, False, True]


def test_a_position_that_stands_twice_is_corruption(tmp_path):
    names = names_in(tmp_path)
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(0, range(5)))])
    lance.write_dataset(lance.dataset(names.vectors).to_table(filter="row > 2"), names.vectors, mode="append")
    with pytest.raises(
        CorruptTableError, match=r"positions stand there more than once: \(shard, row\) \(0, 3\), \(0, 4\)"
    ):
        open_committer(names)


def test_a_ledger_is_a_few_bits_a_row(tmp_path):
    rows = np.random.default_rng(0).permutation(1_000_000).astype(np.int32)
    table = pa.table({"shard": pa.array(rows // 100_000, pa.int32()), "row": pa.array(rows % 100_000, pa.int32())})
    dataset = lance.write_dataset(table, f"{tmp_path}/t.lance", max_rows_per_file=50_000)
    ledger = Ledger(0, 10)
    ledger.vectors = read_positions(dataset, 0, 10)
    assert ledger.vectors.count == 1_000_000
    assert sum(len(bits) for bits in ledger.vectors._bits.values()) < 2 * 1_000_000 / 8
    assert all(ledger.done(shard, 100_000).all() for shard in range(10))
    assert ledger.committed(position_keys(np.array([9, 10]), np.array([99_999, 0]))).tolist() == [True, False]
