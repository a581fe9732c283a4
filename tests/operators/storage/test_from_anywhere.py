"""A place as whoever stands elsewhere must name it."""

from pathlib import Path

import pytest

from operators.storage.uris import from_anywhere


def test_relative_paths_are_made_absolute_and_addresses_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    expected = {"images": f"{tmp_path}/images", "./a/../b/*.jpg": f"{tmp_path}/b/*.jpg", "~/x": "/home/someone/x"}
    assert {uri: from_anywhere(uri) for uri in expected} == expected
    for uri in ("/a/b", "s3://bucket/./a", "https://h/a", "file:///a/b", "file:a"):
        assert from_anywhere(uri) == uri
