"""Captions beside the images of a folder or a prefix."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from made.manifests import manifest_of
from made.solid_images import png_of
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.files import SourceFile
from pipelines.manifests.manifest import Manifest, SourceConfig, SourceError
from pipelines.manifests.tars import listed
from pipelines.manifests.tars.listed import ListedImage, ListingNotes, listed_images, read_beside_images


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def opened(tmp_path: Path, place: str = "in", **options: Any) -> Manifest:
    return manifest_of(SourceConfig(uri=str(tmp_path / place), **options), NO_OPTIONS, str(tmp_path / "work"))


def columns_of(manifest: Manifest, *names: str) -> list[tuple[Any, ...]]:
    rows = [row for shard in manifest.shards for row in pq.read_table(shard.path).to_pylist()]
    return [tuple(row[name] for name in names) for row in rows]


def test_captions_are_paired_by_stem_and_images_without_one_are_rows(tmp_path: Path) -> None:
    """As people keep them for training: `cat.jpg` with `cat.txt`, a stem with dots, endings in capitals."""
    files = {"cat.jpg": png_of(0), "cat.txt": b"a cat", "cat-2.jpg": png_of(1), "my.dog.PNG": png_of(2)}
    files |= {"my.dog.TXT": "ein Hund, größer".encode(), "my.txt": b"not of the dog", "sub/cat.jpg": png_of(3)}
    written(tmp_path / "in", files)
    manifest = opened(tmp_path, keep=("txt", "key"), rename={"txt": "caption"})
    assert columns_of(manifest, "key", "caption") == [
        ("cat-2", None),
        ("cat", "a cat"),
        ("my", "ein Hund, größer"),
        ("sub/cat", None),
    ]
    assert manifest.notices == ()


def test_fields_of_a_json_beside_the_image_are_columns_and_ids(tmp_path: Path) -> None:
    files = {"1.json": b'{"n": 7, "who": "A"}', "1.webp": b"x", "2.json": b"[]", "2.webp": b"y"}
    manifest = opened(written(tmp_path / "in", files).parent, id_column="n", keep=("who",))
    assert columns_of(manifest, "id", "who") == [("7", "A"), (None, None)]
    assert [notice[:25] for notice in manifest.notices] == ["1 file beside images cann"]


def test_the_name_of_an_images_folder_is_a_column(tmp_path: Path) -> None:
    files = {"cat/1.jpg": b"x", "cat/old/2.jpg": b"y", "dog/1.jpg": b"z", "dog/1.txt": b"a dog", "3.jpg": b"w"}
    written(tmp_path / "in", files)
    alone = opened(tmp_path, keep=("folder",), rename={"folder": "species"})
    assert columns_of(alone, "id", "species") == [(None, "in"), (None, "cat"), (None, "old"), (None, "dog")]
    captioned = opened(tmp_path, keep=("txt", "folder"), id_column="key")
    assert columns_of(captioned, "id", "txt", "folder") == [
        ("3", None, "in"),
        ("cat/1", None, "cat"),
        ("cat/old/2", None, "old"),
        ("dog/1", "a dog", "dog"),
    ]
    assert columns_of(opened(tmp_path, "in/*/*.jpg", keep=("folder",)), "folder") == [("cat",), ("dog",)]
    assert alone.digest != opened(tmp_path).digest


def test_a_column_folder_of_files_beside_images_is_not_taken_for_the_folder(tmp_path: Path) -> None:
    files = {"cat/1.jpg": b"x", "cat/1.json": b'{"folder": "F7", "n": 1}'}
    written(tmp_path / "in", files)
    for keep in (("folder",), ("n", "folder")):
        with pytest.raises(SourceError, match="have a column 'folder' of their own, and keep means by it the name of"):
            opened(tmp_path, keep=keep)
    assert columns_of(opened(tmp_path, id_column="folder"), "id") == [("F7",)]
    (tmp_path / "in/cat/1.json").write_bytes(b'{"n": 1}')
    assert columns_of(opened(tmp_path, keep=("n", "folder")), "n", "folder") == [("1", "cat")]
    with pytest.raises(SourceError, match=r"no column 'folder' \(id_column\); columns there: key, n"):
        opened(tmp_path, id_column="folder")
    with pytest.raises(SourceError, match=r"no column 'fodler' \(keep\).*did you mean 'folder'"):
        opened(tmp_path, keep=("fodler",))


def test_a_field_that_is_no_id_is_a_failed_row(tmp_path: Path) -> None:
    files = {"1.json": b'{"n": 7.5}', "1.jpg": b"x", "2.json": b'{"n": "b"}', "2.jpg": b"y"}
    rows = columns_of(opened(written(tmp_path / "in", files).parent, id_column="n"), "id", "error")
    assert (rows[0][0], rows[1]) == (None, ("b", None))
    assert "1.jpg: id_column 'n' holds" in rows[0][1]


def test_a_column_that_nothing_beside_the_images_has_is_refused_with_what_there_is(tmp_path: Path) -> None:
    written(tmp_path / "in", {"a.jpg": b"x", "a.txt": b"t", "a.json": b'{"by": "me"}'})
    with pytest.raises(
        SourceError,
        match=r"no column 'text' \(keep\); columns there: key, txt, by, folder; did you mean 'txt'.*name its file",
    ):
        opened(tmp_path, keep=("text",))
    with pytest.raises(SourceError, match="uri_column is set, but a listing of images has none"):
        opened(tmp_path, uri_column="url")
    with pytest.raises(SourceError, match="rename is set, but keep names no column"):
        opened(tmp_path, rename={"txt": "caption"})


def test_another_caption_is_another_manifest_and_without_columns_nothing_changes(tmp_path: Path) -> None:
    written(tmp_path / "in", {"a.jpg": b"x", "a.txt": b"one"})
    bare, first = opened(tmp_path), opened(tmp_path, keep=("txt",))
    assert opened(tmp_path, keep=("txt",)).shards == first.shards
    (tmp_path / "in/a.txt").write_bytes(b"another")
    second = opened(tmp_path, keep=("txt",))
    assert (opened(tmp_path).digest == bare.digest, second.digest == first.digest) == (True, False)
    assert columns_of(second, "txt") == [("another",)]


def test_a_limit_counts_images(tmp_path: Path) -> None:
    written(tmp_path / "in", {f"{n}.{ending}": b"%d" % n for n in range(5) for ending in ("jpg", "txt")})
    assert columns_of(opened(tmp_path, keep=("txt",), limit=3), "txt") == [("0",), ("1",), ("2",)]


def test_a_folder_of_nearly_the_same_name_does_not_part_them(tmp_path: Path) -> None:
    """`cat.d/` sorts between `cat.bmp` and `cat.txt`."""
    written(tmp_path / "in", {"cat.bmp": b"x", "cat.d/other.jpg": b"y", "cat.txt": b"a cat"})
    assert columns_of(opened(tmp_path, keep=("key", "txt")), "key", "txt") == [("cat", "a cat"), ("cat.d/other", None)]


def test_images_wait_for_no_more_files_than_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed, "_HELD_FILES", 4)
    files = [SourceFile(f"/in/{n}.{ending}", 1, "1") for n in range(9) for ending in ("jpg", "txt")]
    images: list[ListedImage] = []
    taken = iter(files)
    for image in listed_images(taken, "/in", {"txt"}):
        images.append(image)
        if len(images) == 1:
            assert len(list(taken)) == len(files) - 5
    assert [image.beside["txt"].uri for image in images[:2]] == ["/in/0.txt", "/in/1.txt"]


def test_a_link_beside_an_image_is_read_where_an_image_behind_it_would_be(tmp_path: Path) -> None:
    """A folder that someone else made must not bring a file of the system into the table."""
    written(tmp_path / "in", {"a.jpg": b"x", "b.jpg": b"y", "c.jpg": b"z", "c.txt": b"own"})
    (tmp_path / "own.txt").write_bytes(b"mine")
    (tmp_path / "in/a.txt").symlink_to("/etc/passwd")
    (tmp_path / "in/b.txt").symlink_to(tmp_path / "own.txt")
    assert columns_of(opened(tmp_path, keep=("txt",)), "txt") == [(None,), ("mine",), ("own",)]


def test_a_file_that_was_taken_away_since_it_was_listed_costs_its_fields_alone(tmp_path: Path) -> None:
    gone = SourceFile(str(tmp_path / "a.txt"), 3, "1")
    image = ListedImage(SourceFile(str(tmp_path / "a.jpg"), 3, "1"), "a", "jpg", {"txt": gone})
    notes = ListingNotes()
    config = SourceConfig(uri=str(tmp_path), keep=("txt",))
    assert read_beside_images([image], config, NO_OPTIONS, notes) == ([[None], [None]], {})
    assert notes.lines()[0].startswith("1 file beside images cannot be read")
