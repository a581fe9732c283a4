"""Images of a format that an optional package reads, where it is not installed: said at the first, and at the end."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from end_to_end.command import embed_here

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
SAID = (
    "needs an extra package that the workers do not have, and failed: pip install 'pixlake[heif]' on every node, then "
    "the same command with --retry-failed unsupported_format"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # type: ignore[arg-type]
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(np.full((8, 8, 3), 100 + number, np.uint8)).save(folder / f"{number}.png")
    (folder / "9.txt.jpg").write_bytes(b"not an image")
    return folder


def test_it_is_said_once_while_the_run_goes_on_and_in_its_report(folder: Path, tmp_path: Path) -> None:
    (folder / "iphone.heic").write_bytes(HEIC)
    done = embed_here(str(folder), str(tmp_path / "t"), "--json")
    assert done.code == 0, done.err
    assert done.json["failures_by_class"] == {"unsupported_format": 2}
    assert done.json["notices"] == [f"1 image {SAID}"]
    assert [line for line in done.err.splitlines() if "pixlake[heif]" in line] == [
        f"so far 1 image {SAID}; more of their kind will fail too",
    ]


def test_where_no_image_needs_one_nothing_is_said(folder: Path, tmp_path: Path) -> None:
    done = embed_here(str(folder), str(tmp_path / "t"), "--json")
    assert (done.json["failures_by_class"], done.json["notices"]) == ({"unsupported_format": 1}, [])
    assert "extra package" not in done.err
