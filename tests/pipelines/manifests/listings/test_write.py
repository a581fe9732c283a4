"""A listing that was cut off goes on with what it had written, and is in the end the listing that one start makes."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from made.manifests import manifest_of
from operators.storage.stores import NO_OPTIONS, StorageOptions, filesystem
from pipelines.manifests.files import Place, SourceFile
from pipelines.manifests.listings import begun, write
from pipelines.manifests.listings.write import ListedSource
from pipelines.manifests.manifest import Manifest, SourceConfig
from pipelines.manifests.tars.listed import ListedImage

IMAGES, PER_PART = 11, 3


class Cut(Exception):
    """The end of a start."""


def cut_at(rows: int) -> Callable[[int], None]:
    def progress(done: int) -> None:
        if done > rows:
            raise Cut

    return progress


@pytest.fixture(autouse=True)
def _note_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "_NOTED_S", -1.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images, each with a text beside it."""
    made = tmp_path / "photos"
    made.mkdir()
    for number in range(IMAGES):
        (made / f"{number:02d}.jpg").write_bytes(b"x" * (number + 1))
        (made / f"{number:02d}.txt").write_text(f"text {number}")
    return made


def source_of(place: object, **options: object) -> SourceConfig:
    return SourceConfig.model_validate({"uri": str(place), "rows_per_shard": PER_PART, **options})


def uris_of(manifest: Manifest, storage: StorageOptions = NO_OPTIONS) -> list[str]:
    rows: list[str] = []
    for shard in manifest.shards:
        files, path = filesystem(shard.path, storage)
        rows += pq.read_table(path, filesystem=files)["uri"].to_pylist()
    return rows


def begin(source: SourceConfig, work: Path, rows: int, storage: StorageOptions = NO_OPTIONS) -> Path:
    """Cut off once more than so many rows are written; the folder of that start."""
    before = set(work.iterdir()) if work.exists() else set()
    with pytest.raises(Cut):
        manifest_of(source, storage, str(work), cut_at(rows))
    (folder,) = set(work.iterdir()) - before
    return folder


def same_file(one: Path, other: Path) -> bool:
    return os.path.samefile(one, other)


@pytest.mark.parametrize("keep", [(), ("txt",)], ids=["plain", "with texts beside"])
def test_whole_parts_of_a_folder_are_kept_and_nothing_else(folder: Path, tmp_path: Path, keep: tuple[str, ...]) -> None:
    source = source_of(folder, keep=keep)
    first = begin(source, tmp_path / "work", 8)
    assert json.loads((first / "listed.json").read_text())["parts"] == 2
    again = manifest_of(source, NO_OPTIONS, str(tmp_path / "work"))
    once = manifest_of(source, NO_OPTIONS, str(tmp_path / "other"))
    assert (again.digest, again.num_rows, uris_of(again)) == (once.digest, IMAGES, uris_of(once))
    made = [Path(shard.path) for shard in again.shards]
    assert [same_file(part, first / part.name) for part in made[:2]] == [True, True]
    assert not same_file(made[2], first / made[2].name), "which was not whole"
    assert sorted(each.name for each in made[0].parent.iterdir()) == ["manifest.json", *(part.name for part in made)]
    if keep:
        texts = [text for part in made for text in pq.read_table(part)["txt"].to_pylist()]
        assert texts == [f"text {number}" for number in range(IMAGES)]


@pytest.mark.parametrize("change", ["replaced", "gone", "new"])
def test_a_folder_that_changed_meanwhile_is_taken_as_it_is(folder: Path, tmp_path: Path, change: str) -> None:
    source = source_of(folder)
    first = begin(source, tmp_path / "work", 10)
    if change == "replaced":
        (folder / "04.jpg").write_bytes(b"other")
    elif change == "gone":
        (folder / "04.jpg").unlink()
    else:
        (folder / "03a.jpg").write_bytes(b"new")
    again = manifest_of(source, NO_OPTIONS, str(tmp_path / "work"))
    once = manifest_of(source, NO_OPTIONS, str(tmp_path / "other"))
    assert (again.digest, uris_of(again)) == (once.digest, uris_of(once))
    kept = [same_file(Path(shard.path), first / Path(shard.path).name) for shard in again.shards[:3]]
    assert kept == [True, False, False]


def test_what_is_listed_otherwise_is_another_listing(folder: Path, tmp_path: Path) -> None:
    first = begin(source_of(folder), tmp_path / "work", 8)
    limited = manifest_of(source_of(folder, limit=10), NO_OPTIONS, str(tmp_path / "work"))
    assert limited.num_rows == 10
    assert not same_file(Path(limited.shards[0].path), first / "part-00000.parquet")


def test_a_listing_of_less_than_a_part_notes_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Cut):
        manifest_of(source_of(folder, rows_per_shard=100), NO_OPTIONS, str(tmp_path / "work"), cut_at(0))
    (left,) = (tmp_path / "work").iterdir()
    assert [each.name for each in left.iterdir()] == ["part-00000.parquet"]


class Bucket:
    """Eleven images in a bucket."""

    def __init__(self, s3: Any) -> None:
        self.storage = StorageOptions.model_validate(s3.storage_options)
        self.uri = f"s3://{s3.bucket('listed')}/photos"
        self.files, self.root = filesystem(self.uri, self.storage)
        for number in range(IMAGES):
            self.put(f"{number:02d}.jpg")

    def put(self, key: str) -> None:
        self.files.pipe(f"{self.root}/{key}", b"x")


@pytest.mark.s3
def test_a_bucket_is_listed_on_behind_the_last_whole_part(s3: Any, tmp_path: Path) -> None:
    """An object that came meanwhile where the listing had been is not in it: as while one listing goes on."""
    bucket = Bucket(s3)
    source = source_of(bucket.uri)
    once = manifest_of(source, bucket.storage, str(tmp_path / "other"))
    first = begin(source, tmp_path / "work", 8, bucket.storage)
    bucket.put("00a.jpg")
    again = manifest_of(source, bucket.storage, str(tmp_path / "work"))
    assert (again.digest, uris_of(again)) == (once.digest, uris_of(once))
    assert again.num_rows == IMAGES
    assert same_file(Path(again.shards[1].path), first / "part-00001.parquet")


@pytest.mark.s3
def test_a_listing_that_lay_for_long_begins_anew(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket(s3)
    begin(source_of(bucket.uri), tmp_path / "work", 8, bucket.storage)
    bucket.put("00a.jpg")
    monkeypatch.setattr(begun, "_FRESH_S", -1.0)
    again = manifest_of(source_of(bucket.uri), bucket.storage, str(tmp_path / "work"))
    assert [uri.rpartition("/")[2] for uri in uris_of(again)[:3]] == ["00.jpg", "00a.jpg", "01.jpg"]


@pytest.mark.parametrize("names", [["00", "01", "07"], ["07", "08", "06b"]], ids=["from the start", "in disorder"])
def test_a_store_that_does_not_go_on_in_order_is_listed_anew(folder: Path, tmp_path: Path, names: list[str]) -> None:
    """As one that knows nothing of a key to begin behind, or that sorts folders before files."""
    place = Place("folder", str(folder))

    def listed(names: list[str]) -> list[ListedImage]:
        return [ListedImage(SourceFile(f"{folder}/{name}.jpg", 1, "tag")) for name in names]

    in_all = [f"{number:02d}" for number in range(IMAGES)]
    source = ListedSource(
        place=place,
        config=source_of(folder),
        storage=NO_OPTIONS,
        images=lambda: listed(in_all),
        images_after=lambda _: listed(names),
    )
    with pytest.raises(Cut):
        write.write_listing(source, str(tmp_path / "work"), cut_at(8))
    again = write.write_listing(source, str(tmp_path / "work"), None)
    once = write.write_listing(source, str(tmp_path / "other"), None)
    assert (again.digest, again.num_rows) == (once.digest, IMAGES)
    parts = [pq.read_table(shard.path)["uri"].to_pylist() for shard in again.shards()]
    assert [Path(uri).stem for part in parts for uri in part] == in_all
