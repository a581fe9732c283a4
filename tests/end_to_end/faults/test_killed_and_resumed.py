"""Killed with SIGKILL at random, resumed by the same command: every row once, nothing committed fetched again."""

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from end_to_end.audit import audit, committed_uris
from end_to_end.command import HERE, LOCAL, LOOPBACK, end, pixlake_here, start
from made.sources import write_manifest
from servers.images import ImageServer


@pytest.mark.kill
@pytest.mark.parametrize(("rows", "kills"), [(2000, 2), pytest.param(5000, 5, marks=pytest.mark.slow)])
def test_rows_killed_several_times(tmp_path: Path, image_server: ImageServer, rows: int, kills: int) -> None:
    expected = image_server.expected(range(rows))
    manifest = write_manifest(tmp_path / "manifest.parquet", expected, row_group_size=700)
    table = f"{tmp_path}/lake/photos"
    sizes = ("cluster.block_rows=50", "cluster.rows_per_fragment=150", "cluster.commit_interval_s=0.2")
    arguments = ("embed", manifest, table, *LOCAL, *LOOPBACK, *(f"--set={size}" for size in sizes))
    rng, committed, requests = random.Random(20), set[str](), 0
    for _ in range(kills):
        image_server.forget()
        process = start(*arguments)
        kill_at(image_server, process, rng.randint(300, 800), rng.uniform(0, 0.3))
        assert end(process).code == -signal.SIGKILL
        assert not committed & set(image_server.requested)
        committed, requests = committed_uris(table), requests + image_server.requested.total()
    # Several blocks are in work at a time, and as many wait to be written.
    assert len(committed) > requests / 4, "a kill must not cost more than what was not yet committed"
    image_server.forget()
    ended = pixlake_here(*arguments, *HERE, "--json")
    assert (ended.code, ended.json["status"]) == (0, "complete"), ended.err
    assert set(image_server.requested) == {each.uri for each in expected} - committed
    assert max(image_server.requested.values()) == 1
    audit(table, expected)


@pytest.mark.kill
def test_a_local_run_that_is_killed_keeps_what_it_did_up_to_its_last_interval(
    tmp_path: Path, image_server: ImageServer
) -> None:
    """Far fewer rows than one fragment has: only the interval cuts one off."""
    expected = image_server.expected(range(120))
    table = f"{tmp_path}/lake/photos"
    manifest = write_manifest(tmp_path / "manifest.parquet", expected)
    sizes = ("--set=cluster.block_rows=10", "--set=cluster.commit_interval_s=0.01", "--set=cluster.num_cpus=2")
    image_server.hold_from(91)
    process = start("embed", manifest, table, *LOCAL, *LOOPBACK, *sizes)
    image_server.wait_for_hold()
    deadline = time.monotonic() + 60
    # 91 requests are in, and five blocks at most are in work: four at least are done.
    while len(committed_uris(table)) < 40 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    assert end(process).code == -signal.SIGKILL
    assert len(committed_uris(table)) >= 40


def kill_at(server: ImageServer, process: "subprocess.Popen[str]", request: int, delay_s: float) -> None:
    """SIGKILL when the request has come in, and a little later: within a fetch, a write, a commit or between them."""

    def kill() -> None:
        time.sleep(delay_s)
        process.kill()

    server.act_at(request, kill)
