"""Storage that fails in the middle of a run: exit 1, what and why, and the same command goes on once it is mended."""

import shutil
import time
from contextlib import suppress
from pathlib import Path

import pytest

from end_to_end.audit import audit, committed_uris
from end_to_end.command import LOOPBACK, embed_here
from made.sources import write_manifest
from servers.images import ImageServer

SIZES = ("--set", "cluster.block_rows=20", "--set", "cluster.rows_per_fragment=20")
QUICK = ("--set", "cluster.commit_interval_s=0.01", "--set", "cluster.retries=1")


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param("photos.lance/data", id="files"),
        # A commit is tried for ten seconds before it is given up.
        pytest.param("photos.lance", id="table", marks=pytest.mark.slow),
        pytest.param("", id="disk"),
    ],
)
def test_a_place_that_is_gone_ends_the_run_and_the_same_command_goes_on(
    tmp_path: Path, image_server: ImageServer, lost: str
) -> None:
    expected = image_server.expected(range(900))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    place, away = tmp_path / "lake" / lost, tmp_path / "away"

    def lose() -> None:
        """A file where the folder was: nothing can be made there, whoever asks."""
        deadline = time.monotonic() + 120
        while not committed_uris(table) and time.monotonic() < deadline:
            time.sleep(0.02)
        place.rename(away)
        while not place.is_file():
            # The job may have made the folder anew in between.
            shutil.rmtree(place, ignore_errors=True)
            with suppress(IsADirectoryError):
                place.write_text("no folder")

    image_server.act_at(150, lose)
    ended = embed_here(manifest, table, *LOOPBACK, *SIZES, *QUICK)
    assert ended.code == 1, ended.err
    assert "run the same command again" in ended.out + ended.err
    place.unlink()
    away.rename(place)
    published = committed_uris(table)
    assert published
    image_server.forget()
    again = embed_here(manifest, table, *LOOPBACK, *SIZES, "--json")
    assert (again.code, again.json["status"]) == (0, "complete"), again.err
    assert not published & set(image_server.requested)
    audit(table, expected)
