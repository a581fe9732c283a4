"""On Ray: the driver killed or interrupted, a worker and a decoder killed; in the end every row stands once.

That workers are killed on Ray is in `test_killed_at_failpoints` too, in a small form."""

import os
import random
import signal
from pathlib import Path

import pytest

from end_to_end.audit import audit, committed_uris
from end_to_end.command import HERE, LOOPBACK, RAY, end, pixlake, pixlake_here, start
from end_to_end.processes import kill_driver_at, wait_for_descendant
from made.sources import write_manifest
from servers.images import ImageServer

SIZES = ("cluster.block_rows=20", "cluster.rows_per_fragment=40", "cluster.commit_interval_s=0.2")


def arguments(folder: Path, server: ImageServer, rows: int) -> tuple[str, ...]:
    manifest = write_manifest(folder / "manifest.parquet", server.expected(range(rows)), row_group_size=500)
    return ("embed", manifest, f"{folder}/lake/photos", *RAY, *LOOPBACK, *(f"--set={size}" for size in SIZES))


@pytest.mark.ray
@pytest.mark.kill
def test_driver_killed_then_resumed_without_ray(tmp_path: Path, image_server: ImageServer) -> None:
    command, table = arguments(tmp_path, image_server, 700), f"{tmp_path}/lake/photos"
    kill_driver_at(image_server, start(*command), 400)
    published = committed_uris(table)
    assert published
    image_server.forget()
    ended = pixlake_here(*command, *HERE, "--json")
    assert (ended.code, ended.json["status"]) == (0, "complete"), ended.err
    assert set(image_server.requested) == {each.uri for each in image_server.expected(range(700))} - published
    audit(table, image_server.expected(range(700)))


@pytest.mark.ray
@pytest.mark.kill
@pytest.mark.slow
def test_driver_killed_then_resumed_with_a_worker_killed(tmp_path: Path, image_server: ImageServer) -> None:
    command, table = arguments(tmp_path, image_server, 1000), f"{tmp_path}/lake/photos"
    kill_driver_at(image_server, start(*command), 400)
    published = committed_uris(table)
    assert published

    image_server.forget()
    image_server.hold_from(150)
    process = start(*command, "--json")
    image_server.wait_for_hold()
    os.kill(wait_for_descendant(process.pid, "operators.decoding.child"), signal.SIGKILL)
    os.kill(wait_for_descendant(process.pid, "ray::MapWorker(MapBatches(Embed)"), signal.SIGKILL)
    image_server.release()
    ended = end(process)
    assert (ended.code, ended.json["status"]) == (0, "complete"), ended.err
    assert not published & set(image_server.requested)
    audit(table, image_server.expected(range(1000)))


@pytest.mark.ray
@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_publishes_and_the_same_command_completes(
    tmp_path: Path, image_server: ImageServer, number: signal.Signals
) -> None:
    command, table = arguments(tmp_path, image_server, 1000), f"{tmp_path}/lake/photos"
    image_server.hold_from(400)
    process = start(*command, "--json")
    image_server.wait_for_hold()
    process.send_signal(number)
    ended = end(process)
    assert (ended.code, ended.json["status"]) == (75, "interrupted"), ended.err
    published = committed_uris(table)
    assert ended.json["vectors"] == len(published) > 0
    image_server.forget()
    again = pixlake(*command, "--json")
    assert (again.code, again.json["status"]) == (0, "complete"), again.err
    assert not published & set(image_server.requested)
    audit(table, image_server.expected(range(1000)))


@pytest.mark.ray
@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_5000_rows_killed_five_times(tmp_path: Path, image_server: ImageServer) -> None:
    command, table = arguments(tmp_path, image_server, 5000), f"{tmp_path}/lake/photos"
    rng, committed, requests = random.Random(21), set[str](), 0
    for _ in range(5):
        image_server.forget()
        kill_driver_at(image_server, start(*command), rng.randint(300, 1000), rng.uniform(0, 0.5))
        assert not committed & set(image_server.requested)
        committed, requests = committed_uris(table), requests + image_server.requested.total()
    assert len(committed) > requests / 2
    image_server.forget()
    ended = pixlake(*command, "--json")
    assert (ended.code, ended.json["status"]) == (0, "complete"), ended.err
    assert set(image_server.requested) == {each.uri for each in image_server.expected(range(5000))} - committed
    audit(table, image_server.expected(range(5000)))
