"""A manifest that changes: a new one after a complete run, refused in the middle of one until that is given up."""

import os
import signal
import time
from pathlib import Path

from end_to_end.audit import Expected, audit, committed_uris
from end_to_end.command import LOOPBACK, embed_here
from made.sources import make_folder, write_manifest
from servers.images import ImageServer

SIZES = ("--set", "cluster.block_rows=10", "--set", "cluster.rows_per_fragment=10")


def test_after_a_complete_run_it_is_a_manifest_of_its_own(tmp_path: Path) -> None:
    expected = make_folder(tmp_path / "images", range(30))
    table, path = f"{tmp_path}/lake/photos", tmp_path / "manifest.parquet"
    assert embed_here(write_manifest(path, expected[:20]), table).code == 0
    ended = embed_here(write_manifest(path, expected[10:]), table, "--json")
    assert (ended.code, ended.json["embedded_now"]) == (0, 20), ended.err
    with_repeats = [*expected[:20], *expected[10:]]
    audit(table, with_repeats)


def test_in_the_middle_of_a_run_it_is_refused_until_that_run_is_given_up(
    tmp_path: Path, image_server: ImageServer
) -> None:
    expected, path = image_server.expected(range(200)), tmp_path / "manifest.parquet"
    table, run = f"{tmp_path}/lake/photos", unfinished_run(tmp_path, image_server, expected)
    published = committed_uris(table)
    assert 0 < len(published) < 200
    edited = image_server.expected(range(150, 260))
    write_manifest(path, edited)
    refused = embed_here(str(path), table, *LOOPBACK)
    assert refused.code == 2
    assert run in refused.err
    assert f"--abandon {run}" in refused.err
    assert committed_uris(table) == published

    wrong = embed_here(str(path), table, *LOOPBACK, "--abandon", "20260101T000000Z-000000")
    assert wrong.code == 2
    assert run in wrong.err
    ended = embed_here(str(path), table, *LOOPBACK, "--abandon", run, "--json")
    assert (ended.code, ended.json["embedded_now"]) == (0, 110), ended.err
    # Blocks are committed as they end: of a run that was given up, whole blocks may be missing in between.
    audit(table, [each for each in expected if each.uri in published] + edited, gaps=True)


def test_put_back_the_first_run_goes_on(tmp_path: Path, image_server: ImageServer) -> None:
    expected, path = image_server.expected(range(200)), tmp_path / "manifest.parquet"
    unfinished_run(tmp_path, image_server, expected)
    kept = path.read_bytes(), path.stat()
    write_manifest(path, image_server.expected(range(10)))
    assert embed_here(str(path), f"{tmp_path}/lake/photos", *LOOPBACK).code == 2
    path.write_bytes(kept[0])
    os.utime(path, ns=(kept[1].st_mtime_ns, kept[1].st_mtime_ns))
    assert embed_here(str(path), f"{tmp_path}/lake/photos", *LOOPBACK).code == 0
    audit(f"{tmp_path}/lake/photos", expected)


def unfinished_run(folder: Path, server: ImageServer, expected: list[Expected]) -> str:
    """Embed a part of the manifest, as if interrupted by Ctrl-C; gives the run's id."""
    manifest, table = write_manifest(folder / "manifest.parquet", expected), f"{folder}/lake/photos"

    def interrupt() -> None:
        deadline = time.monotonic() + 120
        while not committed_uris(table) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    # Held, the run cannot end before the interrupt: what was asked for before is committed.
    server.hold_from(150)
    server.act_at(100, interrupt)
    ended = embed_here(manifest, table, *LOOPBACK, *SIZES, "--set", "cluster.commit_interval_s=0.1", "--json")
    assert ended.code == 75, ended.err
    server.forget()
    run_id: str = ended.json["run_id"]
    return run_id
