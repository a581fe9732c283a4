"""A manifest that is written anew: the same rows are known again, most of the same ids are not embedded unasked."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.embedding.prepare import prepare
from jobs.embedding.progress import RunProgress
from jobs.embedding.run import EmbedRun
from jobs.session.interrupts import Interrupts
from made.photos import Photos, ids_of
from pipelines.table.errors import RefusedError


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    return Photos(tmp_path)


def touch(path: str) -> None:
    at = os.stat(path).st_mtime_ns + 10**9
    os.utime(path, ns=(at, at))


def csv(photos: Photos, numbers) -> str:
    photos.manifest(numbers)
    path = photos.folder / "m.csv"
    path.write_text("id,uri\n" + "".join(f"i{number},{number}.png\n" for number in numbers))
    return str(path)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_same_rows_written_anew_are_the_same_manifest(photos, kind, capsys):
    manifest = photos.manifest(range(20)) if kind == "parquet" else csv(photos, range(20))
    photos.embed(manifest)
    touch(manifest)
    version = photos.plain.version
    report = photos.embed(manifest)
    assert (report.nothing_to_do, report.vectors) == (True, 20)
    assert photos.plain.version == version
    assert "has the same rows as when run" in " ".join(capsys.readouterr().err.split())


def test_ids_that_the_table_has_in_an_earlier_form_are_not_embedded_again_under_another(photos):
    """Bytes of UTF-8 were their text once, and are their hex now."""
    manifest = photos.manifest(range(4))
    photos.embed(manifest)
    rows = pq.read_table(manifest)
    pq.write_table(rows.set_column(0, "id", rows["id"].cast(pa.binary())), manifest)
    for options in ({}, {"skip_existing": True}, {"again": True}):
        with pytest.raises(RefusedError, match=r"has 4 of 4 ids .* of a column of binary, such as 'i0'.*as text"):
            photos.embed(manifest, **options)
    assert photos.ids() == ids_of(range(4))


def test_rows_that_are_appended_get_an_answer_and_skip_existing_embeds_them(photos):
    manifest = csv(photos, range(20))
    photos.embed(manifest)
    csv(photos, range(25))
    with pytest.raises(
        RefusedError,
        match=r"another manifest holds 20 of 25 ids.*changed since.*refresh.*--skip-existing.*--again",
    ):
        photos.embed(manifest)
    assert photos.ids() == ids_of(range(20))
    report = photos.embed(manifest, skip_existing=True)
    assert (report.vectors, report.skipped) == (5, 20)
    assert photos.ids() == ids_of(range(25))
    assert photos.embed(manifest).nothing_to_do


def test_of_a_manifest_that_a_limit_had_cut_off_the_first_rows_are_asked_for(photos):
    manifest = csv(photos, range(20))
    photos.embed(manifest, limit=6)
    touch(manifest)
    with pytest.raises(
        RefusedError,
        match=r"another manifest holds all ids in the first 6 rows.*embedded 6 rows of it.*--skip-existing",
    ):
        photos.embed(manifest)
    assert photos.embed(manifest, skip_existing=True).embedded_now == 14
    assert photos.ids() == ids_of(range(20))


def test_that_other_columns_are_kept_is_named_as_what_may_have_changed(photos):
    manifest = photos.manifest(range(4))
    photos.embed(manifest)
    with pytest.raises(RefusedError, match="It, or which of its columns are kept, has changed since run"):
        photos.embed(manifest, "source.rename={uri: address}", "source.keep=[uri]")


def test_another_place_with_the_same_ids_is_refused_and_embedded_again_when_asked(photos):
    photos.embed(photos.manifest(range(10)))
    changed = photos.manifest([9, *range(9)], "other.parquet")
    with pytest.raises(RefusedError, match="another manifest holds all ids of"):
        photos.embed(changed)
    assert photos.embed(changed, again=True).vectors == 10
    assert photos.plain.count_rows() == 20
    assert photos.embed(changed).nothing_to_do


def test_a_few_ids_that_are_there_are_said_and_embedded(photos, capsys):
    photos.embed(photos.manifest(range(10)))
    assert photos.embed(photos.manifest(range(5, 15), "other.parquet")).vectors == 10
    assert "5 of 10 ids of" in " ".join(capsys.readouterr().err.split())


def test_a_folder_whose_files_were_touched_is_not_embedded_a_second_time(photos):
    photos.manifest(range(6))
    for path in photos.folder.glob("*.parquet"):
        path.unlink()
    images = ("source.id_column=null",)
    assert photos.embed(str(photos.folder), *images).vectors == 6
    touch(str(photos.folder / "3.png"))
    with pytest.raises(RefusedError, match="another manifest holds all ids"):
        photos.embed(str(photos.folder), *images)
    assert photos.embed(str(photos.folder), *images, skip_existing=True).skipped == 6


def test_an_unfinished_manifest_that_changed_is_refused_as_before(photos):
    config = photos.config(photos.manifest(range(20)))
    with Interrupts() as interrupts, RunProgress() as progress:
        prepared = prepare(config, config.source, f"{photos.folder}/work")
        interrupts.stop.set()
        assert EmbedRun(prepared, prepared.settle().choice, "run", interrupts, progress).go().status == "interrupted"
    with pytest.raises(RefusedError, match=r"has changed since run run began on it.*--abandon run"):
        photos.embed(photos.manifest(range(19)))
