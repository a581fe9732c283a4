"""A Ray cluster that somebody else has started: joined with its token, refused without, and gone in mid-run."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end.audit import audit, committed_uris
from end_to_end.command import LOCAL, LOOPBACK, end, pixlake, start
from end_to_end.processes import wait_until
from made.sources import make_folder, write_manifest
from servers.images import ImageServer
from servers.ray_nodes import RayNodes, ray_nodes

pytestmark = [pytest.mark.ray, pytest.mark.kill, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def nodes() -> Iterator[RayNodes]:
    """With a token; all that works on one node."""
    with ray_nodes() as nodes:
        nodes.add(5)
        yield nodes


def test_a_token_that_is_missing_or_wrong_is_named_and_a_head_that_dies_ends_the_run_in_words(
    tmp_path: Path, image_server: ImageServer, nodes: RayNodes
) -> None:
    make_folder(tmp_path / "images", range(3))
    joined = ("--model", "null", f"--set=cluster.address={nodes.address}", "--set=cluster.num_writers=1")
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
    process = start(*arguments, *joined, environment=nodes.token)
    image_server.wait_for_hold(240)
    wait_until(lambda: len(committed_uris(table)) >= 40)
    assert nodes.head.kill_gcs()
    # `ray start` may have ended it already, once it saw what it had started gone.
    nodes.head.kill_raylet()
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
