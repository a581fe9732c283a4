"""Rows that another tool deleted, or that a restore took away: out, said, recorded or back, never silently."""

import json
import shutil
from pathlib import Path

import lance
import pytest

from jobs.embedding.prepare import prepare
from jobs.embedding.progress import RunProgress
from jobs.embedding.run import EmbedRun
from jobs.session.interrupts import Interrupts
from made.photos import Photos, ids_of
from operators.storage.stores import NO_OPTIONS
from pipelines.ledger.takedowns import Takedowns
from pipelines.table.errors import RefusedError
from pipelines.table.names import TableNames
from pipelines.table.publish import update_table_metadata
from pipelines.table.table import Table


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    return Photos(tmp_path)


def counts(report):
    return report.status, report.vectors, report.failures, report.skipped, report.deleted


def test_of_a_complete_manifest_they_stay_out_and_are_said(photos, capsys):
    manifest = photos.manifest(range(20), missing=[3])
    photos.embed(manifest)
    photos.plain.delete("`row` >= 4 and `row` < 7")
    before = photos.ids()
    report = photos.embed(manifest)
    assert counts(report) == ("complete", 16, 1, 0, 3)
    assert photos.ids() == before
    said = " ".join(capsys.readouterr().err.split())
    assert "3 rows of this manifest were in the table and are in neither table now" in said
    assert "--deleted restore" in said
    assert "--deleted keep-out" in said


@pytest.mark.parametrize("compacted", [False, True])
def test_in_the_middle_of_a_manifest_they_stay_out_and_the_rest_is_embedded(photos, compacted, capsys):
    manifest = photos.manifest(range(30))
    photos.embed(manifest, limit=20)
    # A whole fragment and a part of one.
    photos.plain.delete("`row` < 7 and `shard` = 0")
    if compacted:
        photos.plain.optimize()
    report = photos.embed(manifest)
    assert counts(report) == ("complete", 23, 0, 0, 7)
    assert report.embedded_now == 10
    assert photos.ids() == ids_of(range(7, 30))
    assert "7 rows of this manifest were in the table" in " ".join(capsys.readouterr().err.split())


def test_restore_embeds_them_again_and_then_there_is_nothing_to_do(photos):
    manifest = photos.manifest(range(20))
    photos.embed(manifest)
    photos.plain.delete("`row` in (2, 3)")
    report = photos.embed(manifest, deleted="restore")
    assert (counts(report), report.embedded_now) == (("complete", 20, 0, 0, 0), 2)
    assert photos.ids() == ids_of(range(20))
    version = photos.plain.version
    assert photos.embed(manifest, deleted="restore").nothing_to_do
    assert photos.plain.version == version


def test_restore_in_the_middle_of_a_manifest(photos):
    manifest = photos.manifest(range(30))
    photos.embed(manifest, limit=20)
    photos.plain.delete("`row` < 7 and `shard` = 0")
    assert counts(photos.embed(manifest, deleted="restore")) == ("complete", 30, 0, 0, 0)
    assert photos.ids() == ids_of(range(30))


def test_keep_out_records_them_for_every_later_manifest(photos, capsys):
    manifest = photos.manifest(range(20))
    photos.embed(manifest)
    photos.plain.delete("`row` in (2, 3)")
    assert counts(photos.embed(manifest, deleted="keep-out")) == ("complete", 18, 0, 0, 2)
    capsys.readouterr()
    assert counts(photos.embed(manifest, deleted="restore")) == ("complete", 18, 0, 0, 2)
    assert "rows of this manifest" not in capsys.readouterr().err
    other = photos.manifest([2, 3, *range(30, 40)], "other.parquet")
    assert counts(photos.embed(other)) == ("complete", 10, 0, 0, 2)
    assert photos.embed(other).nothing_to_do
    assert counts(photos.embed(other)) == ("complete", 10, 0, 0, 2)
    assert not {"i2", "i3"} & set(photos.ids())


def test_keep_out_of_one_of_two_rows_of_an_image_leaves_the_other(photos):
    manifest = photos.manifest([0, 1, 1, 2])
    photos.embed(manifest)
    photos.plain.delete("`row` = 2")
    assert counts(photos.embed(manifest, deleted="keep-out")) == ("complete", 3, 0, 0, 1)
    assert photos.ids() == ids_of([0, 1, 2])
    assert counts(photos.embed(manifest)) == ("complete", 3, 0, 0, 1)


def restored(photos, tables):
    """The manifest and its tables, at a version after 10 rows; 20 had been embedded."""
    manifest = photos.manifest(range(30))
    photos.embed(manifest, limit=10)
    versions = {name: photos.open(name).version for name in tables}
    photos.embed(manifest, limit=20)
    for name, version in versions.items():
        table = photos.open(name)
        table.checkout(version)
        table.restore()
    return manifest


@pytest.mark.parametrize("tables", [["photos"], ["photos", "photos__failures"]])
def test_rows_that_a_restore_took_away_come_back_by_themselves(photos, tables, capsys):
    manifest = restored(photos, tables)
    report = photos.embed(manifest, limit=20)
    assert (counts(report), report.embedded_now) == (("complete", 20, 0, 0, 0), 10)
    assert "taken back to an earlier version" in " ".join(capsys.readouterr().err.split())
    assert counts(photos.embed(manifest)) == ("complete", 30, 0, 0, 0)
    assert photos.embed(manifest).nothing_to_do


@pytest.mark.parametrize("tables", [["photos"], ["photos", "photos__failures"]])
def test_rows_that_a_restore_took_away_can_be_recorded_as_deleted(photos, tables):
    manifest = restored(photos, tables)
    assert counts(photos.embed(manifest, deleted="keep-out")) == ("complete", 20, 0, 0, 10)
    assert photos.ids() == ids_of([*range(10), *range(20, 30)])


def test_rows_of_the_middle_of_a_run_that_a_restore_took_away_are_said(photos, capsys):
    """The records are the same before and after: only the notes tell that these rows were there."""
    config = photos.config(photos.manifest(range(30)), "cluster.commit_interval_s=1e-6")

    class Stopping(RunProgress):
        """After four waves."""

        receipts = 0

        def receipt(self, receipt):
            super().receipt(receipt)
            self.receipts += 1
            if self.receipts == 4:
                interrupts.stop.set()

    with Interrupts() as interrupts, Stopping() as progress:
        prepared = prepare(config, config.source, f"{photos.folder}/work")
        assert EmbedRun(prepared, prepared.settle().choice, "run", interrupts, progress).go().status == "interrupted"
    held, plain = photos.plain.count_rows(), photos.plain
    plain.checkout(plain.version - 1)
    plain.restore()
    gone = held - photos.plain.count_rows()
    assert gone > 0
    assert counts(photos.embed(config.source.uri)) == ("complete", 30 - gone, 0, 0, gone)
    assert "another tool deleted them, or restored an earlier version" in " ".join(capsys.readouterr().err.split())
    assert counts(photos.embed(config.source.uri, deleted="restore")) == ("complete", 30, 0, 0, 0)


def test_rows_that_skip_existing_left_out_are_not_taken_for_deleted(photos):
    photos.embed(photos.manifest(range(10), "first.parquet"))
    manifest = photos.manifest(range(5, 15))
    assert counts(photos.embed(manifest, skip_existing=True)) == ("complete", 5, 0, 5, 0)
    assert counts(photos.embed(manifest)) == ("complete", 5, 0, 5, 0)
    photos.plain.delete("id = 'i12'")
    assert counts(photos.embed(manifest)) == ("complete", 4, 0, 5, 1)
    assert counts(photos.embed(manifest, deleted="restore")) == ("complete", 5, 0, 5, 0)


def test_of_rows_whose_note_a_kill_cost_what_is_there_is_noted_by_the_next_run(photos):
    manifest = photos.manifest(range(30))
    photos.embed(manifest, limit=20)
    [notes] = (photos.folder / "lake" / "photos__runs" / "positions").iterdir()
    for path in notes.iterdir():
        path.unlink()
    photos.embed(manifest, limit=21)
    photos.plain.delete("`row` < 7 and `shard` = 0")
    assert counts(photos.embed(manifest)) == ("complete", 23, 0, 0, 7)


def test_rows_deleted_while_a_run_is_on_are_counted(photos):
    config = photos.config(photos.manifest(range(20)), "cluster.commit_interval_s=1e-6")

    class Deleting(RunProgress):
        """Deletes rows of the first wave when the third comes in."""

        receipts = 0

        def receipt(self, receipt):
            super().receipt(receipt)
            self.receipts += 1
            if self.receipts == 3:
                photos.plain.delete("`row` in (1, 2)")

    with Interrupts() as interrupts, Deleting() as progress:
        prepared = prepare(config, config.source, f"{photos.folder}/work")
        report = EmbedRun(prepared, prepared.settle().choice, "run", interrupts, progress).go()
    assert counts(report) == ("complete", 18, 0, 0, 2)


def test_records_hold_no_uri_and_one_row_a_place(photos):
    manifest = photos.manifest(range(10))
    photos.embed(manifest)
    photos.plain.delete("`row` in (2, 3)")
    photos.embed(manifest, deleted="keep-out")
    takedowns = Takedowns.read(Table.of(photos.table))
    assert takedowns.finished
    assert sorted(takedowns.records["id"].to_pylist()) == ["i2", "i3"]
    assert set(lance.dataset(f"{photos.table}__deleted.lance").schema.names) == {
        "id",
        "manifest",
        "shard",
        "row",
        "deleted_at",
    }


def as_of_yesterday(photos):
    """The table as an earlier version of Pixlake leaves it: entries without a key, nothing noted."""
    names = TableNames.from_table(photos.table)
    metadata = lance.dataset(names.vectors).metadata
    entries = {key: json.loads(text) for key, text in metadata.items() if key.startswith("pixlake.manifest.")}
    for entry in entries.values():
        del entry["registered"], entry["revision"]
    update_table_metadata(names.vectors, {key: json.dumps(entry) for key, entry in entries.items()}, NO_OPTIONS)
    update_table_metadata(names.failures, dict.fromkeys(entries), NO_OPTIONS)
    shutil.rmtree(f"{names.runs}/positions")


def test_a_complete_manifest_of_an_earlier_version(photos):
    manifest = photos.manifest(range(20))
    photos.embed(manifest)
    as_of_yesterday(photos)
    assert counts(photos.embed(manifest)) == ("complete", 20, 0, 0, 0)
    photos.plain.delete("`row` < 3 and `shard` = 0")
    assert counts(photos.embed(manifest)) == ("complete", 17, 0, 0, 3)
    assert counts(photos.embed(manifest, deleted="restore")) == ("complete", 20, 0, 0, 0)


def test_of_a_manifest_of_an_earlier_version_that_was_complete_as_far_as_a_limit_they_stay_out(photos):
    manifest = photos.manifest(range(30))
    photos.embed(manifest, limit=20)
    as_of_yesterday(photos)
    photos.plain.delete("`row` in (2, 3) and `shard` = 0")
    photos.plain.delete("`row` >= 5 and `row` < 10 and `shard` = 0")
    photos.plain.optimize()
    report = photos.embed(manifest)
    assert (counts(report), report.embedded_now) == (("complete", 23, 0, 0, 7), 10)
    assert counts(photos.embed(manifest, deleted="restore")) == ("complete", 30, 0, 0, 0)


def test_an_unfinished_manifest_of_an_earlier_version_knows_what_is_marked_as_deleted(photos):
    manifest = photos.manifest(range(30))
    photos.embed(manifest, limit=20)
    as_of_yesterday(photos)
    photos.plain.delete("`row` = 2 and `shard` = 0")
    assert counts(photos.embed(manifest)) == ("complete", 29, 0, 0, 1)
    photos.plain.optimize()
    assert counts(photos.embed(manifest)) == ("complete", 29, 0, 0, 1)


def test_where_an_earlier_version_skipped_rows_the_number_of_deleted_ones_is_right(photos):
    photos.embed(photos.manifest(range(10), "first.parquet"))
    manifest = photos.manifest(range(5, 15))
    photos.embed(manifest, skip_existing=True)
    as_of_yesterday(photos)
    assert counts(photos.embed(manifest)) == ("complete", 5, 0, 5, 0)
    photos.plain.delete("id = 'i12'")
    assert counts(photos.embed(manifest)) == ("complete", 4, 0, 5, 1)
    with pytest.raises(RefusedError, match="Give --skip-existing and --deleted restore together"):
        photos.embed(manifest, deleted="restore")
    assert counts(photos.embed(manifest, deleted="restore", skip_existing=True)) == ("complete", 5, 0, 5, 0)
