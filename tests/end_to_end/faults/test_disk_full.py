"""A disk that fills up in mid-run: a stop at once that says so, nothing torn, and the same command goes on."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest

from end_to_end.audit import audit, committed_uris
from end_to_end.command import HERE, LOCAL, LOOPBACK, RAY, Ended, embed_here, pixlake, pixlake_here
from made.refreshed import Lake, picture
from made.sources import write_manifest
from servers.images import ImageServer

SETTINGS = ("cluster.block_rows=20", "cluster.num_cpus=2")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 320 KiB; the rows of the test take twice that."""
    with _disk(tmp_path / "lake", "320k") as folder:
        yield folder


@contextmanager
def _disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk of its own takes the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    ("executor", "rows_per_fragment"),
    [
        pytest.param(LOCAL, 40, id="full after some commits"),
        pytest.param(LOCAL, 800, id="full within the first fragment"),
        pytest.param(RAY, 40, marks=[pytest.mark.ray, pytest.mark.slow], id="on ray"),
    ],
)
def test_a_full_disk_ends_the_run_at_once_and_with_room_it_goes_on(
    small: Path, tmp_path: Path, image_server: ImageServer, executor: tuple[str, ...], rows_per_fragment: int
) -> None:
    expected = image_server.expected(range(800))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{small}/photos"
    # A whole fragment of 800 rows is larger than the disk, and written only when all of them are there.
    interval_s = 0.1 if rows_per_fragment < 800 else 1000
    sizes = (f"cluster.rows_per_fragment={rows_per_fragment}", f"cluster.commit_interval_s={interval_s}", *SETTINGS)
    arguments = ("embed", manifest, table, *executor, *LOOPBACK, *(f"--set={each}" for each in sizes), "--json")
    ended = pixlake(*arguments)
    _stopped_for_space(ended)
    published = committed_uris(table)
    assert (rows_per_fragment == 800) == (not published)
    assert ended.json["vectors"] == len(published) < 800
    assert max(image_server.requested.values()) == 1, "no row is fetched twice for nothing"
    subprocess.run(["mount", "-o", "remount,size=50m", str(small)], check=True)
    image_server.forget()
    again = pixlake_here(*arguments, *HERE)
    assert (again.code, again.json["status"]) == (0, "complete"), again.err
    assert not published & set(image_server.requested)
    audit(table, expected)


def test_a_disk_too_full_for_the_run_s_own_files_is_a_full_disk_too(tmp_path: Path, image_server: ImageServer) -> None:
    expected = image_server.expected(range(40))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    assert embed_here(manifest, table, *LOOPBACK, "--limit", "20").code == 0
    with _disk(Path(f"{table}__runs/positions"), "4k") as full:
        (full / "filled").write_bytes(bytes(4096))
        _stopped_for_space(embed_here(manifest, table, *LOOPBACK, "--json"))
    again = embed_here(manifest, table, *LOOPBACK, "--json")
    assert (again.code, again.json["status"]) == (0, "complete"), again.err
    audit(table, expected)


@pytest.mark.parametrize("size", ["4k", "40k", "60k"])
def test_a_disk_too_full_for_empty_tables_is_one_too(tmp_path: Path, image_server: ImageServer, size: str) -> None:
    """Too full for the run's record, for the vector table, and for the failures beside it."""
    expected = image_server.expected(range(40))
    manifest = write_manifest(tmp_path / "manifest.parquet", expected)
    with _disk(tmp_path / "lake", size) as full:
        ended = embed_here(manifest, f"{full}/photos", *LOOPBACK)
        assert ended.code == 75, ended.err
        assert re.search("o space left.*; make room there, and run the same command again$", ended.err.strip())
        assert "Traceback" not in ended.err
        subprocess.run(["mount", "-o", "remount,size=50m", str(full)], check=True)
        again = embed_here(manifest, f"{full}/photos", *LOOPBACK, "--json")
        assert (again.code, again.json["status"]) == (0, "complete"), again.err
        audit(f"{full}/photos", expected)


def test_other_commands_say_so_too(tmp_path: Path, image_server: ImageServer) -> None:
    manifest, table = write_manifest(tmp_path / "manifest.parquet", image_server.expected(range(40))), f"{tmp_path}/t"
    assert embed_here(manifest, table, *LOOPBACK).code == 0
    with _disk(tmp_path / "out", "8k") as full:
        ended = pixlake_here("export", table, str(full / "export"), "--set", "cluster.executor=local")
        assert (ended.code, "o space left" in ended.err) == (75, True), ended.err
        subprocess.run(["mount", "-o", "remount,size=50m", str(full)], check=True)
        again = pixlake_here("export", table, str(full / "export"), "--set", "cluster.executor=local")
        assert again.code == 0, again.err


def test_a_refresh_and_a_night_go_on_too(tmp_path: Path) -> None:
    """Where no image is fetched: an image that is gone is marked so, which takes a commit."""
    with _disk(tmp_path / "lake", "50m") as disk:
        lake = Lake(tmp_path)
        lake.source.mkdir()
        for number in range(12):
            picture(lake.source / f"{number}.png", number)
        assert embed_here(str(lake.source), lake.table).code == 0
        night = tmp_path / "night.yaml"
        night.write_text(f"source: {{uri: {lake.source}}}\ntable: {lake.table}\nmodel: {{name: 'null'}}\n")
        (lake.source / "3.png").unlink()
        filled = disk / "filled"
        commands = (("refresh", lake.table), ("nightly", str(night), *HERE))
        for pages, command in product(range(10), commands):
            # With so much room for what each writes before it comes to the tables.
            filled.write_bytes(bytes(shutil.disk_usage(disk).free - 4096 * pages))
            ended = pixlake_here(*command)
            assert ended.code == 75, (pages, command, ended.out + ended.err)
            assert "o space left" in ended.out + ended.err
            filled.unlink()
            # This process lives on: of a night that is one of its own the lease ends with it.
            shutil.rmtree(f"{lake.table}__runs/lease", ignore_errors=True)
        assert lake.counts() == {"unchanged": 11, "deleted": 1}


def _stopped_for_space(ended: Ended) -> None:
    assert (ended.code, ended.json["status"]) == (75, "interrupted"), ended.err
    assert "no space left" in ended.json["message"]
    assert "same command again" in ended.json["message"]
    assert "attempt 2" not in ended.err
    assert "Traceback" not in ended.err
