"""A Ray cluster that somebody else has started: joined with its token, refused without, and gone in mid-run."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from end_to_end.audit import audit, committed_uris
from end_to_end.command import LOCAL, LOOPBACK, end, pixlake, start
from end_to_end.processes import descendants, kill_leftovers, wait_until
from made.sources import make_folder, write_manifest
from servers.images import ImageServer

TOKEN = "a" * 64
pytestmark = [pytest.mark.ray, pytest.mark.kill, pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Head:
    process: "subprocess.Popen[bytes]"
    address: str


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Head]:
    """`ray start --head` with a token, on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}
    limits = ("--num-cpus=5", "--object-store-memory=200000000", "--include-dashboard=false", f"--port={port}")
    # A folder of its own, and a short one for the sockets in it: in the usual one it would leave a note that later
    # starts of Ray go by.
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    ports = ("--min-worker-port=0", "--max-worker-port=0", f"--temp-dir={folder}")
    process = subprocess.Popen(
        [Path(sys.executable).parent / "ray", "start", "--head", "--block", *limits, *ports],
        env={**os.environ, **token},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    said = b""
    assert process.stdout is not None
    while b"Ray runtime started" not in said:
        line = process.stdout.readline()
        assert line, said.decode()
        said += line
    below = descendants(process.pid)
    yield Head(process, f"127.0.0.1:{port}")
    process.terminate()
    process.wait(60)
    kill_leftovers(below)
    shutil.rmtree(folder, ignore_errors=True)


def test_a_token_that_is_missing_or_wrong_is_named_and_a_head_that_dies_ends_the_run_in_words(
    tmp_path: Path, image_server: ImageServer, head: Head
) -> None:
    make_folder(tmp_path / "images", range(3))
    joined = ("--model", "null", f"--set=cluster.address={head.address}", "--set=cluster.num_writers=1")
    (tmp_path / "home").mkdir()
    for token in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "b" * 64}):
        refused = pixlake("embed", f"{tmp_path}/images", f"{tmp_path}/lake/refused", *joined, environment=token)
        assert refused.code == 2, refused.err
        assert "its token is missing here or is another" in refused.err
        assert "Traceback" not in refused.err

    expected = image_server.expected(range(400))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    sizes = ("cluster.block_rows=20", "cluster.rows_per_fragment=40", "cluster.commit_interval_s=0.1")
    arguments = ("embed", manifest, table, *LOOPBACK, *(f"--set={size}" for size in sizes), "--json")
    image_server.hold_from(210)
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    process = start(*arguments, *joined, environment=environment)
    image_server.wait_for_hold(240)
    wait_until(lambda: len(committed_uris(table)) >= 40)
    for pid, command in descendants(head.process.pid).items():
        if "gcs_server" in command or "raylet/raylet" in command:
            os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    ended = end(process)
    assert (ended.code, ended.json["status"]) == (75, "interrupted"), ended.err
    assert "Ray has ended the run" in ended.json["message"]
    assert time.monotonic() - killed < 200
    image_server.release()
    image_server.forget()
    again = pixlake(*arguments, *LOCAL)
    assert (again.code, again.json["status"]) == (0, "complete"), again.err
    audit(table, expected)
