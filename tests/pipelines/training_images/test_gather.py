"""Images to train on: what is stored, what is skipped, found again, and refused."""

import os
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from made.photographs import decoded, write_photographs
from operators.base.errors import UserError
from operators.decode import DecodeOptions
from operators.fetch import FetchConfig
from operators.pixels.preprocess import Preprocess
from operators.storage.stores import NO_OPTIONS
from pipelines.manifests.manifest import Manifest, SourceConfig
from pipelines.manifests.open import open_manifest, open_source
from pipelines.manifests.vectors.folder import VectorFolder
from pipelines.sources.source import Source
from pipelines.training_images.gather import GatheredImages, ImageGathering, told

PREPROCESS = Preprocess(
    height=32,
    width=48,
    resize="shortest",
    resize_height=40,
    resize_width=60,
    interpolation="bicubic",
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
)


class Shelf:
    """Four photographs, one broken file and one address without a file, in a manifest with labels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.photographs = write_photographs(folder)
        (folder / "broken.jpg").write_bytes(b"no image at all")
        names = [path.name for path in self.photographs]
        uris = [names[0], "broken.jpg", *names[1:], "gone.jpg"]
        labels = ["a", "x", "b", "c", None, "x"]
        pq.write_table(pa.table({"uri": uris, "label": labels}), folder / "m.parquet", row_group_size=2)
        self.manifest = self.opened()

    def opened(self) -> Manifest:
        config = SourceConfig(uri=str(self.folder / "m.parquet"), keep=("label",))
        opened = open_source(config, NO_OPTIONS)
        assert not isinstance(opened, VectorFolder)
        return open_manifest(opened, config, str(self.folder / "work"))

    def gathering(self, **given: Any) -> ImageGathering:
        fetch = FetchConfig(allowed_roots=self.manifest.allowed_roots)
        base = {"source": Source(columns=self.manifest.columns), "fetch": fetch, "whole": True, "cores": 1}
        base |= {"decode": DecodeOptions(isolate=False), "preprocess": PREPROCESS}
        return ImageGathering(**{**base, **given})

    def gather(self, to: str, positions: tuple[int, ...] = (5, 3, 1, 0, 4, 2), **given: Any) -> GatheredImages:
        place = self.folder / to
        return self.gathering(**given).gather(self.manifest, np.array(positions), place, lambda text, share: None)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture(scope="module")
def stored(shelf: Shelf) -> GatheredImages:
    return shelf.gather("stored")


def test_good_images_are_stored_in_the_order_of_the_manifest(shelf: Shelf, stored: GatheredImages) -> None:
    table = stored.images.table(["uri", "label", "sha256"])
    assert [Path(uri).name for uri in table["uri"].to_pylist()] == [path.name for path in shelf.photographs]
    assert table["label"].to_pylist() == ["a", "b", "c", None]
    assert stored.images.rows == 4


def test_bad_images_are_counted_by_class(stored: GatheredImages) -> None:
    assert stored.failures == {"unsupported_format": 1, "not_found": 1}
    assert stored.drawn == 6
    assert "skipped 2 without pixels: " in told(stored.failures, stored.failure_example)
    assert "broken.jpg" in stored.failure_example


def test_what_the_model_sees_is_what_an_embed_job_gives_it(shelf: Shelf, stored: GatheredImages) -> None:
    at = np.array([3, 0, 2])
    wanted = decoded([shelf.photographs[each] for each in at], PREPROCESS)
    assert np.array_equal(stored.images.seen(at), wanted)


def test_the_whole_image_is_squashed_and_its_shape_is_known(shelf: Shelf, stored: GatheredImages) -> None:
    whole = stored.images.whole(np.array([1]))
    assert whole.shape == (1, 60, 60, 3)
    with Image.open(shelf.photographs[1]) as image:
        assert stored.images.shapes(np.array([1])).tolist() == [[image.height, image.width]]
        squashed = np.asarray(image.convert("RGB").resize((60, 60), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(whole[0] - squashed).mean() < 3


def test_without_crops_only_what_the_model_sees_is_stored(shelf: Shelf, stored: GatheredImages) -> None:
    found = shelf.gather("seen", whole=False)
    assert sorted(path.name for path in Path(found.images.folder).iterdir()) == ["about.json", "rows.arrow", "seen.u8"]
    assert np.array_equal(found.images.seen(np.arange(4)), stored.images.seen(np.arange(4)))


def test_they_are_found_again_and_only_by_the_same_settings(shelf: Shelf) -> None:
    first = shelf.gather("again", (0, 2))
    # What a second start would read is gone: it does not look.
    hidden = shelf.photographs[0].rename(shelf.folder / "hidden")
    again = shelf.gather("again", (2, 0))
    assert (first.reused, again.reused) == (False, True)
    assert again.images == first.images
    other = shelf.gather("again", (0, 2), decode=DecodeOptions(isolate=False, orient=False))
    hidden.rename(shelf.photographs[0])
    assert (other.reused, other.images.rows) == (False, 1)
    # Another job may be at work with the first ones.
    assert first.images.seen(np.arange(2)).shape == (2, 32, 48, 3)


def test_what_was_not_finished_is_stored_anew(shelf: Shelf) -> None:
    shelf.gather("cut", (0, 2))
    [pixels] = (shelf.folder / "cut").glob("images-*/seen.u8")
    pixels.write_bytes(pixels.read_bytes()[:-1])
    again = shelf.gather("cut", (0, 2))
    assert not again.reused
    assert again.images.seen(np.arange(2)).shape == (2, 32, 48, 3)


def test_what_a_killed_process_has_left_is_taken_away(shelf: Shelf) -> None:
    old, new = (shelf.folder / "left" / f"images-0.{number}.part" for number in (1, 2))
    for each in (old, new):
        each.mkdir(parents=True)
        (each / "seen.u8").write_bytes(b"1")
    for each in (old, old / "seen.u8"):
        os.utime(each, (1e9, 1e9))
    shelf.gather("left", (0, 2))
    assert not old.exists()
    assert new.exists()


def test_a_disk_without_room_is_told_before(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 50_000))
    with pytest.raises(UserError, match=r"6 decoded images take .*--sample 3\)"):
        shelf.gather("full")


def test_a_source_without_a_good_image_ends_with_the_first_reason(shelf: Shelf) -> None:
    with pytest.raises(UserError, match=r"none of 2 images could be decoded; the first: .*broken\.jpg"):
        shelf.gather("bad", (1, 5))
