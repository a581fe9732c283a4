"""`pixlake delete`: out of both tables, recorded, and kept out by later runs of any manifest."""

import re
from datetime import timedelta
from pathlib import Path

import lance
import lancedb
import numpy as np
import pytest

from jobs import describe
from jobs.delete import DeleteConfig, Deleted, as_text, run
from jobs.embedding.prepare import prepare
from jobs.embedding.progress import RunProgress
from jobs.embedding.run import EmbedRun
from jobs.session.interrupts import Interrupts
from made import vectors as made_vectors
from made.photos import Photos, ids_of
from operators.base.errors import UserError
from operators.storage.stores import NO_OPTIONS
from pipelines.commits.sink import FAILURES_SCHEMA
from pipelines.ledger.takedowns import Takedowns, record_takedowns, takedown_records
from pipelines.table.fenced_table import FencedTable
from pipelines.table.names import TableNames
from pipelines.table.open import drop_tables
from pipelines.table.table import Table


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    return Photos(tmp_path)


def delete(photos: Photos, **given) -> Deleted:
    return run(DeleteConfig(table=photos.table, **given))


def counts(report):
    return report.status, report.vectors, report.failures, report.skipped, report.deleted


def test_it_holds_for_the_same_manifest_whether_complete_or_not(photos, capsys):
    manifest = photos.manifest(range(30), missing=[4])
    photos.embed(manifest, limit=10)
    deleted = delete(photos, where="id = 'i1'", id=["i4", "i25"])
    assert (deleted.ids, deleted.vectors, deleted.failures) == (3, 1, 1)
    assert counts(photos.embed(manifest)) == ("complete", 27, 0, 0, 3)
    assert delete(photos, where="`row` = 9 and `shard` = 0").vectors == 1
    capsys.readouterr()
    report = photos.embed(manifest)
    assert (report.nothing_to_do, counts(report)) == (True, ("complete", 26, 0, 0, 4))
    # It was asked for: nothing to warn of.
    assert "neither table" not in capsys.readouterr().err
    assert counts(photos.embed(manifest, deleted="restore")) == ("complete", 26, 0, 0, 4)
    assert counts(photos.embed(manifest, retry_failed="all")) == ("complete", 26, 0, 0, 4)


def test_rows_that_a_restore_has_brought_back_are_named_until_they_are_deleted_again(photos):
    manifest = photos.manifest(range(10))
    photos.embed(manifest)
    version = photos.plain.version
    delete(photos, id=["i3", "i4", "i77"])
    again = photos.plain
    again.checkout(version)
    again.restore()
    report = photos.embed(manifest)
    assert (report.status, report.vectors) == ("complete", 10)
    said = (
        f"2 ids that were taken down have rows again \\(i3, i4\\): .* `pixlake delete {photos.table} --id i3 --id i4`"
    )
    for notices in (report.notices, describe.run(describe.DescribeConfig(table=photos.table)).notices):
        assert [bool(re.match(said, each)) for each in notices] == [True]
    assert any(re.match(said, each) for each in photos.embed(photos.manifest([10], "other.parquet")).notices)
    assert delete(photos, id=["i3", "i4"]).vectors == 2
    assert counts(photos.embed(manifest)) == ("complete", 8, 0, 0, 2)
    assert describe.run(describe.DescribeConfig(table=photos.table)).notices == []


def test_it_holds_for_other_manifests_and_for_a_table_made_anew(photos):
    photos.embed(photos.manifest(range(10)))
    delete(photos, id=["i3"])
    other = photos.manifest([3, 20, 21], "other.parquet")
    assert counts(photos.embed(other)) == ("complete", 2, 0, 0, 1)
    assert photos.embed(other).nothing_to_do
    assert counts(photos.embed(other, overwrite=1)) == ("complete", 2, 0, 0, 1)
    drop_tables(Table.of(photos.table))
    assert counts(photos.embed(other)) == ("complete", 2, 0, 0, 1)


def test_every_row_of_an_id_goes_whichever_matched(photos):
    photos.embed(photos.manifest([0, 1, 1, 2]))
    assert delete(photos, where="`row` = 1").vectors == 2
    assert photos.ids() == ids_of([0, 2])


def test_a_dry_run_counts_and_changes_nothing(photos):
    photos.embed(photos.manifest(range(10), missing=[4]))
    versions = photos.plain.version
    deleted = delete(photos, where="`row` < 3", id=["i4"], dry_run=True)
    assert (deleted.ids, deleted.vectors, deleted.failures) == (4, 3, 1)
    assert "would delete 3 rows of the vector table and 1 failure" in as_text(deleted)
    assert photos.plain.version == versions
    assert not Path(f"{photos.table}__deleted.lance").exists()


def test_what_was_killed_after_its_record_is_finished_by_the_next_run_or_the_same_command(photos):
    manifest = photos.manifest(range(10))
    photos.embed(manifest)
    names = TableNames.from_table(photos.table)
    record_takedowns(Table(names=names), takedown_records(["i3"]))
    assert counts(photos.embed(manifest)) == ("complete", 9, 0, 0, 1)
    assert photos.ids() == ids_of([0, 1, 2, *range(4, 10)])
    record_takedowns(Table(names=names), takedown_records(["i5"]))
    delete(photos, id=["i3"])
    assert "i5" not in photos.ids()
    assert Takedowns.read(Table(names=names)).finished


def test_the_same_command_again_changes_nothing(photos):
    photos.embed(photos.manifest(range(10)))
    delete(photos, id=["i3", "nowhere"])
    records = lance.dataset(f"{photos.table}__deleted.lance").count_rows()
    again = delete(photos, id=["i3", "nowhere"])
    assert (again.vectors, lance.dataset(f"{photos.table}__deleted.lance").count_rows()) == (0, records)
    assert "nothing matches" in as_text(delete(photos, where="id = 'i3'"))
    described = describe.run(describe.DescribeConfig(table=photos.table))
    assert "deleted    2 ids, which no run brings back" in describe.as_text(described)


def test_rows_are_counted_whose_deletion_landed_and_was_not_answered(photos, monkeypatch):
    photos.embed(photos.manifest(range(10)))
    real, lost = lance.LanceDataset.commit, []

    def answer_lost(*args, **kwargs):
        before = lance.dataset(f"{photos.table}.lance").count_rows()
        done = real(*args, **kwargs)
        if not lost and lance.dataset(f"{photos.table}.lance").count_rows() < before:
            lost.append(done)
            raise OSError("the connection was reset")
        return done

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(answer_lost))
    assert (delete(photos, id=["i3", "i4"]).vectors, len(lost)) == (2, 1)


def test_a_run_that_is_on_is_stopped(photos):
    config = photos.config(photos.manifest(range(10)), "cluster.commit_interval_s=1e-6")
    photos.embed(photos.manifest(range(20, 30), "first.parquet"))

    class Deleting(RunProgress):
        def new_execution(self):
            super().new_execution()
            delete(photos, id=["i3", "i25"])

    with Interrupts() as interrupts, Deleting() as progress:
        prepared = prepare(config, config.source, f"{photos.folder}/work")
        report = EmbedRun(prepared, prepared.settle().choice, "run", interrupts, progress).go()
    assert report.status == "failed"
    assert "took the table over" in report.message
    assert counts(photos.embed(config.source.uri)) == ("complete", 9, 0, 0, 1)


def test_a_record_that_is_taken_back_lets_the_rows_come_again(photos):
    manifest, other = photos.manifest(range(10)), "other.parquet"
    photos.embed(manifest)
    delete(photos, id=["i3", "i4"])
    other = photos.manifest([3, 20], other)
    photos.embed(other)
    forgotten = delete(photos, id=["i3", "unknown"], forget=True)
    assert forgotten.forgotten == 1
    assert counts(photos.embed(manifest)) == ("complete", 8, 0, 0, 2)
    assert counts(photos.embed(manifest, deleted="restore")) == ("complete", 9, 0, 0, 1)
    assert counts(photos.embed(other, deleted="restore")) == ("complete", 2, 0, 0, 0)


def test_all_regions_of_an_image_go(photos):
    grid = "regions={kind: grid, rows: 2, columns: 2}"
    manifest = photos.manifest(range(6))
    photos.embed(manifest, grid)
    rows = photos.plain.count_rows()
    deleted = delete(photos, where="id = 'i2' and `region`.`index` = 1")
    assert (deleted.ids, deleted.vectors) == (1, rows // 6)
    assert counts(photos.embed(manifest, grid)) == ("complete", 5, 0, 0, 1)
    photos.plain.delete("id = 'i4'")
    assert counts(photos.embed(manifest, grid, deleted="restore")) == ("complete", 5, 0, 0, 1)


def test_bad_input_is_said(photos):
    photos.embed(photos.manifest(range(3)))
    with pytest.raises(ValueError, match="nothing is named"):
        delete(photos)
    with pytest.raises(ValueError, match="--id is empty and names no image"):
        delete(photos, id=["i1", ""])
    with pytest.raises(ValueError, match="--forget takes --id and --ids alone"):
        delete(photos, where="`row` = 1", forget=True)
    with pytest.raises(UserError, match="no column 'nosuch'"):
        delete(photos, where='"nosuch" = 1')
    with pytest.raises(UserError, match="there is none at"):
        run(DeleteConfig(table=f"{photos.folder}/lake/other", id=["a"]))


def test_the_bytes_are_gone_after_what_the_page_says_and_not_before(tmp_path):
    """One row of a fragment that no default compaction would write anew, in a vector index and a filter index."""
    table = str(tmp_path / "lake" / "photos")
    made_vectors.make(table, made_vectors.clustered(600, 16), fragments=1)
    names = TableNames.from_table(table)
    FencedTable.create_or_open(names.failures, FAILURES_SCHEMA, NO_OPTIONS)
    dataset = lance.dataset(names.vectors)
    dataset.create_index("vector", "IVF_FLAT", metric="cosine", num_partitions=2)
    dataset.create_scalar_index("uri", "BTREE")
    vector = dataset.to_table(filter="id = 'i300'", columns=["vector"])["vector"].combine_chunks()
    secrets = (np.asarray(vector.flatten()).tobytes(), b"/i300.jpg")

    def held():
        files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        return [any(secret in data for data in files) for secret in secrets]

    assert run(DeleteConfig(table=table, where="id = 'i300'")).vectors == 1
    lancedb.connect(tmp_path / "lake").open_table("photos").optimize(cleanup_older_than=timedelta(0))
    assert held() == [True, True]
    page = (Path(__file__).parents[2] / "docs" / "takedowns.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(code.replace("./lake", f"{tmp_path}/lake"))
    assert held() == [False, False]
    assert lance.dataset(names.vectors).count_rows() == 599
