"""Pictures on disk: whole, up to a number of bytes, those used longest ago gone first."""

import os
from pathlib import Path

from jobs.web.picture_cache import PictureCache


def name(letter: str) -> str:
    return letter * 64


def test_what_was_put_is_there_for_the_next_process_too(tmp_path: Path) -> None:
    PictureCache(tmp_path / "pictures", 1000).put(name("a"), b"picture")
    assert PictureCache(tmp_path / "pictures", 1000).get(name("a")) == b"picture"
    assert PictureCache(tmp_path / "pictures", 1000).get(name("b")) is None


def test_the_folder_stays_below_its_bytes(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path, 100)
    for at, letter in enumerate("abc"):
        cache.put(name(letter), bytes(30))
        os.utime(tmp_path / name(letter), (at, at))
    (tmp_path / "of-somebody-else.txt").write_bytes(bytes(500))
    cache.get(name("a"))
    cache.put(name("d"), bytes(30))
    there = {path.name for path in tmp_path.iterdir()} - {"of-somebody-else.txt"}
    assert sum(path.stat().st_size for path in tmp_path.iterdir() if path.name in there) <= 90
    assert {name("a"), name("d")} <= there
    assert name("b") not in there
    cache.put(name("e"), bytes(101))
    assert cache.get(name("e")) is None


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = PictureCache(tmp_path / "file" / "pictures", 100)
    cache.put(name("a"), b"picture")
    assert cache.get(name("a")) is None
