"""Pictures are made under an embed job's guards: of allowed folders and public addresses, of what is an image."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from jobs.web.picture_cache import PictureCache
from jobs.web.pictures import SIDES, Pictures
from jobs.web.rows import PictureRow
from made.served_table import SVG
from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from operators.storage.stores import NO_OPTIONS
from pipelines.ledger.entries import ManifestEntry
from pipelines.pictures.make import NoPictureError, PictureMaker
from pipelines.reread.kept import KeptRows
from pipelines.reread.manifests import OpenedManifest
from pipelines.reread.packed import PackedRows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def pictures(folder: Path) -> Iterator[Pictures]:
    (folder / "images").mkdir()
    fetch = FetchOptions(allowed_roots=(str(folder / "images"),), max_attempts=1, retry_s=0)
    maker = PictureMaker(fetch, DecodeOptions(max_pixels=2_000_000))
    kept, cache = KeptRows(PackedRows(unopened, NO_OPTIONS), 1 << 20), PictureCache(folder / "cache", 1 << 20)
    made = Pictures(maker, kept, cache, lambda: fetch)
    yield made
    made.close()


def unopened(entry: ManifestEntry) -> OpenedManifest:
    raise AssertionError("no image here lies in a file with others")


def row(uri: object, *version: str) -> PictureRow:
    return PictureRow(uri=str(uri), version=version)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_large_image_is_shrunk_in_its_own_shape(pictures: Pictures, folder: Path) -> None:
    Image.new("RGB", (1600, 400), (200, 10, 10)).save(folder / "images" / "wide.jpg")
    found = opened(pictures.of_row(row(folder / "images" / "wide.jpg"), "small"))
    assert (found.format, found.size) == ("WEBP", (SIDES["small"], SIDES["small"] // 4))
    red, green, blue = found.convert("RGB").getpixel((160, 40))  # type: ignore[misc]
    assert red > 180
    assert max(green, blue) < 40
    assert opened(pictures.of_row(row(folder / "images" / "wide.jpg"), "large")).size == (1280, 320)


def test_a_new_content_has_a_new_picture(pictures: Pictures, folder: Path) -> None:
    path = folder / "images" / "changed.png"
    Image.new("RGB", (40, 40), (0, 0, 0)).save(path)
    first = pictures.of_row(row(path, "etag-1"), "small")
    Image.new("RGB", (50, 20), (0, 0, 0)).save(path)
    assert pictures.of_row(row(path, "etag-1"), "small") == first
    assert opened(pictures.of_row(row(path, "etag-2"), "small")).size == (50, 20)


def test_only_what_a_job_may_read_is_read(pictures: Pictures, folder: Path) -> None:
    Image.new("RGB", (9, 9)).save(folder / "outside.png")
    (folder / "images" / "link.png").symlink_to("/etc/passwd")
    for uri, kind in {
        str(folder / "outside.png"): "blocked_source",
        str(folder / "images" / "link.png"): "blocked_source",
        str(folder / "images" / ".." / "outside.png"): "blocked_source",
        "file:///etc/passwd": "blocked_source",
        "http://127.0.0.1:9/cat.jpg": "blocked_source",
        "http://169.254.169.254/latest/meta-data": "blocked_source",
        "data:image/png;base64,AAAA": "bad_uri",
        "": "bad_uri",
    }.items():
        with pytest.raises(NoPictureError) as refused:
            pictures.of_row(row(uri), "small")
        assert refused.value.kind == kind, uri


def test_what_is_no_image_gives_no_picture(pictures: Pictures, folder: Path) -> None:
    large = io.BytesIO()
    Image.new("L", (2000, 1100)).save(large, "PNG")
    for data, kind in ((SVG.encode(), "unsupported_format"), (b"", "corrupt"), (large.getvalue(), "too_many_pixels")):
        with pytest.raises(NoPictureError) as refused:
            pictures.of_bytes(data, "small")
        assert refused.value.kind == kind


def test_a_failure_is_told_again_without_another_try(pictures: Pictures, folder: Path) -> None:
    path = folder / "images" / "late.png"
    for _ in range(2):
        with pytest.raises(NoPictureError, match="not_found"):
            pictures.of_row(row(path), "small")
        Image.new("RGB", (9, 9)).save(path)
    assert opened(pictures.of_row(row(path, "seen"), "small")).size == (9, 9)
