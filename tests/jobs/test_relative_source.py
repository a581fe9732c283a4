"""A source that was named from one folder is the same for a refresh that is started in another."""

from pathlib import Path

import pytest

from end_to_end.command import embed_here, pixlake_here
from made.sources import make_folder


def test_a_refresh_finds_the_source_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "here/images", range(3))
    monkeypatch.chdir(tmp_path / "here")
    assert embed_here("images", f"{tmp_path}/lake/photos").code == 0
    make_folder(tmp_path / "here/images", range(3, 4))
    monkeypatch.chdir(tmp_path)
    refreshed = pixlake_here("refresh", f"{tmp_path}/lake/photos", "--json")
    assert (refreshed.code, refreshed.json["counts"]["new"], refreshed.json["embedded"]) == (0, 1, 1)
    again = pixlake_here("refresh", f"{tmp_path}/lake/photos", "--source", "here/images", "--json")
    assert (again.code, again.json["counts"]["unchanged"]) == (0, 4)
