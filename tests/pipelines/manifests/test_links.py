"""A folder whose images are links to elsewhere: what is listed, and what the run says of those it leaves out."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from made.manifests import manifest_of
from made.tars import write_tar
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.manifest import Manifest, SourceConfig, SourceError
from pipelines.manifests.open import open_manifest, open_source


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """As Hugging Face's cache is: links into a folder beside."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "photos").mkdir()
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / "blobs" / name).write_text("x")
        (tmp_path / "photos" / name).symlink_to(f"../blobs/{name}")
    return tmp_path / "photos"


def opened(photos: Path, *allowed: str, source: str = "") -> Manifest:
    files = open_source(SourceConfig(uri=source or str(photos)), NO_OPTIONS)
    return open_manifest(files, SourceConfig(uri=source or str(photos)), f"{photos}-work", None, allowed)  # type: ignore[arg-type]


def names(manifest: Manifest) -> list[str]:
    return [os.path.basename(uri) for shard in manifest.shards for uri in pq.read_table(shard.path)["uri"].to_pylist()]


def test_links_to_ones_own_files_are_images_like_others(photos: Path) -> None:
    manifest = opened(photos)
    assert (names(manifest), manifest.notices) == (["1.jpg", "2.jpg"], ())


def test_links_that_will_not_be_read_are_said_with_the_option_at_every_start(photos: Path) -> None:
    (photos / "3.jpg").symlink_to("/etc/hostname")
    for _ in range(2):
        # The second start finds the listing that the first one wrote.
        manifest = opened(photos)
        assert names(manifest) == ["1.jpg", "2.jpg", "3.jpg"]
        [notice] = manifest.notices
        assert notice.startswith("1 of the files are links that lead outside")
        assert "--set 'fetch.allowed_roots=[/etc]' allows it" in notice
    assert opened(photos, "/etc").notices == ()
    [notice] = opened(photos, source=f"{photos}/3.jpg").notices
    assert "/etc" in notice


def test_links_to_folders_and_to_nothing_are_counted(photos: Path) -> None:
    (photos / "more").symlink_to(photos.parent / "blobs")
    (photos / "gone.jpg").symlink_to("nowhere")
    (photos / "gone.txt").symlink_to("nowhere")
    manifest = opened(photos)
    assert names(manifest) == ["1.jpg", "2.jpg"]
    assert manifest.notices == (
        f"1 link to a folder is not followed; name one as a source of its own, such as {photos}/more",
        "left out, since they lead to nothing: 1 link that is called as an image",
    )
    assert names(opened(photos, source=f"{photos}/more/*.jpg")) == ["1.jpg", "2.jpg"]


def test_a_folder_of_links_to_folders_alone_says_so(photos: Path) -> None:
    (photos.parent / "empty").mkdir()
    (photos.parent / "empty/photos").symlink_to(photos)
    with pytest.raises(SourceError, match=r"nothing there; 1 link to a folder is not followed; .*empty/photos"):
        opened(photos.parent / "empty")


def test_a_tar_that_is_a_link_outside_is_said_too(photos: Path) -> None:
    (photos.parent / "shards").mkdir()
    write_tar(photos.parent / "0.tar", [("a.jpg", b"x")])
    (photos.parent / "shards/0.tar").symlink_to("../0.tar")
    assert opened(photos.parent / "shards").notices == ()
    (photos.parent / "shards/1.tar").symlink_to("/etc/hostname")
    assert "fetch.allowed_roots=[/etc]" in opened(photos.parent / "shards").notices[-1]


def test_a_link_that_leads_to_itself_leads_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p/a.jpg").write_bytes(b"A")
    (tmp_path / "p/loop.jpg").symlink_to("loop.jpg")
    manifest = manifest_of(SourceConfig(uri=str(tmp_path / "p")), NO_OPTIONS, str(tmp_path / "work"))
    assert manifest.num_rows == 1
    assert manifest.notices == ("left out, since they lead to nothing: 1 link that is called as an image",)
