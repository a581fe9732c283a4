"""A cluster of two kinds of nodes of which some join and some are lost in mid-run, also for good: every row is there
once."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from end_to_end.audit import audit, committed_uris
from end_to_end.command import LOOPBACK, Ended, end, start
from end_to_end.processes import wait_until
from made.sources import write_manifest
from servers.images import ImageServer
from servers.ray_nodes import RayNodes, ray_nodes

pytestmark = [pytest.mark.ray, pytest.mark.kill, pytest.mark.slow, pytest.mark.timeout(900)]

ROWS = 1200
STAGES = [
    {"name": "preprocess", "operators": ["fetch", "decode"], "custom_resources": {"fetching": 1}},
    {"name": "embed", "operators": ["embed", "normalize"], "num_cpus": 0.5, "custom_resources": {"embedding": 1}},
]
SIZES = (
    *("cluster.executor=ray", "cluster.block_rows=20", "cluster.rows_per_fragment=40", "cluster.num_writers=1"),
    *("cluster.commit_interval_s=0.2", f"cluster.stages={json.dumps(STAGES)}"),
)


@pytest.fixture
def nodes() -> Iterator[RayNodes]:
    with ray_nodes() as nodes:
        yield nodes


@contextmanager
def held_in_the_middle(nodes: RayNodes, server: ImageServer, folder: Path, *more: str) -> Iterator[list[Ended]]:
    """The run of all rows, while a quarter of them has been asked for and some are committed; then it ends well, and
    how is added to the list."""
    ends: list[Ended] = []
    expected = server.expected(range(ROWS))
    manifest, table = write_manifest(folder / "manifest.parquet", expected), f"{folder}/lake/photos"
    sizes = (f"--set={size}" for size in (*SIZES, *more, f"cluster.address={nodes.address}"))
    server.hold_from(ROWS // 4)
    command = ("embed", manifest, table, "--model", "null", *LOOPBACK, *sizes, "--json")
    process = start(*command, environment=nodes.token)
    try:
        server.wait_for_hold(240)
        wait_until(lambda: len(committed_uris(table)) >= 40)
        yield ends
        ended = end(process)
        ends.append(ended)
    finally:
        process.kill()
    assert (ended.code, ended.json["status"]) == (0, "complete"), ended.err + ended.out
    audit(table, expected)


def test_of_each_kind_one_is_lost_and_one_joins_before_or_after(
    tmp_path: Path, image_server: ImageServer, nodes: RayNodes
) -> None:
    fetching, embedding = nodes.add(4, fetching=1), nodes.add(2, embedding=1)
    with held_in_the_middle(nodes, image_server, tmp_path):
        nodes.add(2, embedding=1)
        embedding.lose()
        image_server.release()
        wait_until(lambda: image_server.requested.total() >= ROWS // 2)
        fetching.lose()
        nodes.add(4, fetching=1)


def test_one_of_two_is_lost_for_good_and_the_run_goes_on_with_the_other(
    tmp_path: Path, image_server: ImageServer, nodes: RayNodes
) -> None:
    lost, _, _ = nodes.add(4, fetching=1), nodes.add(4, fetching=1), nodes.add(2, embedding=1)
    with held_in_the_middle(nodes, image_server, tmp_path, "cluster.lost_node_wait_s=5") as ends:
        lost.lose()
        image_server.release()
    (ended,) = ends
    assert "nodes were lost, and for 5 s (cluster.lost_node_wait_s) none has taken their place" in ended.err
    assert "(preprocess 1 of 2, embed 1 of 1)" in ended.err
    assert [notice for notice in ended.json["notices"] if "other pools: preprocess 1, embed 1" in notice]
