"""Ctrl-C and SIGTERM: what is finished is published, exit 75, and the same command goes on from there."""

import signal
import time
from pathlib import Path

import pytest
from audit import audit, committed_uris
from command import LOCAL, LOOPBACK, end, pixlake, start
from image_server import ImageServer
from made_sources import write_manifest

SIZES = ("--set", "cluster.block_rows=20", "--set", "cluster.rows_per_fragment=40")


@pytest.mark.kill
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_interrupted_publishes_and_the_same_command_completes(
    tmp_path: Path, image_server: ImageServer, number: signal.Signals
) -> None:
    expected = image_server.expected(range(400))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    arguments = ("embed", manifest, table, *LOCAL, *LOOPBACK, *SIZES, "--json")
    image_server.hold_from(210)
    process = start(*arguments)
    image_server.wait_for_hold()
    asked = time.monotonic()
    process.send_signal(number)
    ended = end(process)
    assert ended.code == 75, ended.err
    assert time.monotonic() - asked < 15, "a fetch that hangs must not hold the stop up"
    assert ended.json["status"] == "interrupted"
    assert "same command again" in ended.json["message"]
    published = committed_uris(table)
    # 210 requests are in: of the first 200 rows, all but the fragment that was not full yet are there.
    assert len(published) == 200
    assert (ended.json["vectors"], ended.json["embedded_now"]) == (200, 200)
    image_server.forget()
    again = pixlake(*arguments)
    assert (again.code, again.json["status"], again.json["embedded_now"]) == (0, "complete", 200), again.err
    assert not published & set(image_server.requested)
    audit(table, expected)
