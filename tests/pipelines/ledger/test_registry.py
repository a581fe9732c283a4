import json

import lance
import pytest

from made.tables import names_in, open_committer
from pipelines.commits.registry import RESERVED_SHARDS, Registry
from pipelines.ledger.entries import read_entries
from pipelines.table.errors import FencedError, RefusedError


@pytest.fixture
def names(tmp_path):
    return names_in(tmp_path)


def register(registry, digest, source="s3://b/photos.parquet", rows=100, num_shards=2, run_id="r1", limit=None):
    return registry.register(digest=digest, source=source, rows=rows, num_shards=num_shards, run_id=run_id, limit=limit)


def test_every_manifest_has_shards_of_its_own(names):
    registry = Registry(open_committer(names))
    first = registry.complete(register(registry, "d1", num_shards=2))
    second = register(registry, "d2", num_shards=5, run_id="r2")
    third = register(registry, "d3", source="other", num_shards=1, run_id="r3")
    assert [(e.first_shard, e.num_shards) for e in (first, second, third)] == [(0, 2), (2, 5), (7, 1)]
    for uri in (names.vectors, names.failures):
        assert read_entries(lance.dataset(uri).metadata, lance.dataset(uri).metadata) == [first, second, third]


def test_the_same_manifest_again_resumes_or_is_done(names):
    first = register(Registry(open_committer(names)), "d1")
    registry = Registry(open_committer(names))
    resumed = register(registry, "d1", run_id="r2")
    assert (resumed.first_shard, resumed.status, resumed.run_id) == (first.first_shard, "running", "r2")
    done = registry.complete(resumed)
    version = lance.dataset(names.vectors).version
    assert register(registry, "d1", run_id="r3") == done
    assert lance.dataset(names.vectors).version == version


def test_a_limit_is_widened_by_a_later_run(names):
    registry = Registry(open_committer(names))
    registry.complete(register(registry, "d1", limit=10))
    assert register(registry, "d1", limit=5).status == "complete"
    wider = register(registry, "d1", limit=20)
    assert (wider.status, wider.limit, wider.first_shard) == ("running", 20, 0)
    registry.complete(register(registry, "d1"))
    assert register(registry, "d1", limit=20).status == "complete"


def test_a_manifest_edited_in_the_middle_of_a_run_is_refused_until_it_is_given_up(names):
    registry = Registry(open_committer(names))
    register(registry, "d1")
    with pytest.raises(RefusedError, match=r"has changed since run r1 .* --abandon r1"):
        register(registry, "d2", run_id="r2")
    assert len(registry.entries()) == 1
    with pytest.raises(RefusedError, match=r"called 'nobody'; unfinished runs: r1 \(s3://b/photos.parquet\)"):
        registry.abandon("nobody")
    assert registry.abandon("r1").status == "abandoned"
    assert register(registry, "d2", run_id="r2").first_shard == 2
    with pytest.raises(RefusedError, match="--abandon r2"):
        register(registry, "d1", run_id="r3")


def test_a_manifest_edited_after_a_complete_run_is_a_new_one(names):
    registry = Registry(open_committer(names))
    registry.complete(register(registry, "d1"))
    assert register(registry, "d2", run_id="r2").first_shard == 2


def test_other_shards_of_the_same_manifest_are_refused(names):
    registry = Registry(open_committer(names))
    register(registry, "d1")
    with pytest.raises(RefusedError, match="2 shards of 100 rows and is now cut into 3 of 100"):
        register(registry, "d1", num_shards=3)


def test_signatures_in_a_source_are_not_stored_and_do_not_tell_two_sources_apart(names):
    registry = Registry(open_committer(names))
    register(registry, "d1", source="https://h/list.csv?X-Amz-Signature=SECRET1")
    assert "SECRET1" not in json.dumps(dict(lance.dataset(names.vectors).metadata))
    with pytest.raises(RefusedError, match="has changed since run r1"):
        register(registry, "d2", source="https://h/list.csv?X-Amz-Signature=SECRET2", run_id="r2")


def test_a_stale_run_cannot_register(names):
    old = Registry(open_committer(names, "old"))
    new = Registry(open_committer(names, "new"))
    with pytest.raises(FencedError, match="run new took the table over"):
        register(old, "d1")
    assert register(new, "d2").first_shard == 0
    assert [e.digest for e in new.entries()] == ["d2"]


def test_a_manifest_seen_in_part_keeps_its_positions_when_more_of_it_follows(names):
    registry = Registry(open_committer(names))
    part = registry.register(digest="d1", source="a.csv", rows=64, num_shards=1, run_id="r1", limit=10, whole=False)
    registry.complete(part)
    other = register(registry, "d2", source="b.csv", num_shards=3)
    assert other.first_shard >= part.first_shard + RESERVED_SHARDS
    more = registry.register(digest="d1", source="a.csv", rows=640, num_shards=10, run_id="r2", limit=600, whole=False)
    assert (more.first_shard, more.status, more.whole) == (part.first_shard, "running", False)
    everything = registry.register(digest="d1", source="a.csv", rows=900, num_shards=15, run_id="r3", whole=True)
    assert (everything.first_shard, everything.rows, everything.whole) == (part.first_shard, 900, True)
    with pytest.raises(RefusedError, match="cut into 16 of 950"):
        registry.register(digest="d1", source="a.csv", rows=950, num_shards=16, run_id="r4", whole=True)


def test_a_record_of_an_earlier_release_is_taken_as_it_is_and_put_into_both_tables(names):
    """It stands in the vector table alone, without a revision."""
    committer = open_committer(names)
    old = {"digest": "d0", "source": "old", "first_shard": 0, "num_shards": 4, "rows": 9, "whole": True}
    value = json.dumps({**old, "limit": None, "run_id": "r0", "status": "complete"})
    committer.set_metadata({"pixlake.manifest.d0": value})
    registry = Registry(open_committer(names))
    [entry] = registry.entries()
    assert (entry.status, entry.revision) == ("complete", 0)
    assert register(registry, "d1").first_shard == 4
    lance.dataset(names.vectors).update_metadata({"owner": "somebody"}, replace=True)
    after = {entry.digest: entry for entry in Registry(open_committer(names)).entries()}
    assert (after["d0"].status, after["d0"].first_shard, after["d1"].status) == ("undone", 0, "running")


def test_of_two_records_that_differ_the_later_one_holds(names):
    registry = Registry(open_committer(names))
    register(registry, "d1", limit=5)
    before = dict(lance.dataset(names.vectors).metadata)
    registry.complete(register(registry, "d1", run_id="r2"))
    lance.dataset(names.vectors).update_metadata(before, replace=True)
    [entry] = Registry(open_committer(names)).entries()
    assert (entry.status, entry.run_id, entry.limit) == ("undone", "r2", None)


def test_metadata_replaced_while_a_run_is_on_ends_it_and_says_why(names):
    registry = Registry(open_committer(names))
    entry = register(registry, "d1")
    lance.dataset(names.vectors).update_metadata({"owner": "somebody"}, replace=True)
    with pytest.raises(FencedError, match="another tool has replaced the table's metadata"):
        registry.complete(entry)
