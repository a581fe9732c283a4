"""Runs with regions that are killed, resumed and retried: an image is there with all of its regions or not at all."""

import os
import signal
from collections import defaultdict
from pathlib import Path

import lance
import pytest

from end_to_end.audit import Expected
from end_to_end.command import LOCAL, LOOPBACK, RAY, end, pixlake_here, start
from end_to_end.processes import kill_driver_at, wait_for_descendant, wait_until
from made.sources import write_manifest
from servers.images import ImageServer

GRID = ("--set", "regions.kind=grid", "--set", "regions.rows=2", "--set", "regions.columns=3")
EACH = 6
SIZES = ("--set", "cluster.block_rows=60", "--set", "cluster.rows_per_fragment=120")
"""In images: 10 and 20."""


def arguments(manifest: str, table: str, layout: str, executor: tuple[str, ...] = LOCAL) -> tuple[str, ...]:
    often = ("--set", "cluster.commit_interval_s=0.05", "--set", f"regions.layout={layout}")
    return ("embed", manifest, table, *executor, "--set", "decode.isolate=false", *LOOPBACK, *GRID, *SIZES, *often)


def images_of(table: str, layout: str) -> dict[str, list[int]]:
    """URI -> the indices of its regions, sorted; read with lance alone."""
    rows = lance.dataset(f"{table}.lance").to_table().to_pylist()
    found: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        regions = [row["region"]] if layout == "rows" else row["regions"]
        found[row["uri"]] += [region["index"] for region in regions]
        assert layout == "rows" or len(row["vector"]) == len(regions)
    return {uri: sorted(indices) for uri, indices in found.items()}


def audit(table: str, layout: str, expected: list[Expected]) -> None:
    assert images_of(table, layout) == {each.uri: list(range(EACH)) for each in expected}


@pytest.mark.kill
@pytest.mark.parametrize("layout", ["rows", pytest.param("multivector", marks=pytest.mark.slow)])
def test_killed_while_it_writes_no_image_is_there_in_part(
    tmp_path: Path, image_server: ImageServer, layout: str
) -> None:
    expected = image_server.expected(range(600))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    command = arguments(manifest, table, layout)
    committed: set[str] = set()
    versions = Path(f"{table}.lance/_versions")
    for _ in range(2):
        image_server.forget()
        process = start(*command)
        before = len(committed)
        # The table's folder is there before its first version.
        # Not at a request: on a fast machine all of them may be in before the first commit.
        wait_until(lambda before=before: any(versions.glob("*.manifest")) and len(images_of(table, layout)) > before)
        process.kill()
        assert end(process).code == -signal.SIGKILL
        assert not committed & set(image_server.requested)
        here = images_of(table, layout)
        assert set(map(tuple, here.values())) <= {tuple(range(EACH))}
        assert committed < set(here)
        committed = set(here)
    assert 0 < len(committed) < 600
    image_server.forget()
    ended = pixlake_here(*command, "--json")
    assert (ended.code, ended.json["status"]) == (0, "complete"), ended.err
    assert (ended.json["vectors"], ended.json["embedded_now"]) == (600, 600 - len(committed))
    assert set(image_server.requested) == {each.uri for each in expected} - committed
    audit(table, layout, expected)
    described = pixlake_here("describe", table, "--json").json
    assert (described["images"], described["layout"]) == (600, layout)
    assert described["vectors"] == (600 * EACH if layout == "rows" else 600)


@pytest.mark.ray
@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.parametrize("layout", ["rows", "multivector"])
def test_on_ray_a_driver_and_a_worker_are_killed(tmp_path: Path, image_server: ImageServer, layout: str) -> None:
    expected = image_server.expected(range(600))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    command = arguments(manifest, table, layout, RAY)
    kill_driver_at(image_server, start(*command), 300)
    committed = images_of(table, layout)
    assert 0 < len(committed) < 600
    assert set(map(tuple, committed.values())) == {tuple(range(EACH))}
    image_server.forget()
    image_server.hold_from(100)
    process = start(*command, "--json")
    image_server.wait_for_hold()
    os.kill(wait_for_descendant(process.pid, "ray::MapWorker(MapBatches(Embed)"), signal.SIGKILL)
    image_server.release()
    ended = end(process)
    assert (ended.code, ended.json["status"], ended.json["vectors"]) == (0, "complete", 600), ended.err
    assert not set(committed) & set(image_server.requested)
    audit(table, layout, expected)


def test_failures_tried_again_come_with_all_their_regions(tmp_path: Path, image_server: ImageServer) -> None:
    expected = image_server.expected(range(40))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    command = arguments(manifest, table, "rows")
    image_server.missing = set(range(0, 40, 4))
    ended = pixlake_here(*command, "--json")
    assert (ended.code, ended.json["vectors"], ended.json["failures"]) == (0, 30, 10), ended.err
    audit(table, "rows", [each for each in expected if each.number not in image_server.missing])
    image_server.missing = {0, 4}
    ended = pixlake_here(*command, "--retry-failed", "--json")
    assert (ended.code, ended.json["vectors"], ended.json["failures"]) == (0, 38, 2), ended.err
    audit(table, "rows", [each for each in expected if each.number not in image_server.missing])


def test_the_same_command_again_has_nothing_to_do(tmp_path: Path, image_server: ImageServer) -> None:
    expected = image_server.expected(range(25))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    command = arguments(manifest, table, "rows")
    assert pixlake_here(*command).code == 0
    version = lance.dataset(f"{table}.lance").version
    ended = pixlake_here(*command, "--json")
    assert (ended.code, ended.json["vectors"], ended.json["embedded_now"]) == (0, 25, 0), ended.err
    assert lance.dataset(f"{table}.lance").version == version
    more = write_manifest(tmp_path / "more.parquet", image_server.expected(range(20, 30)))
    image_server.forget()
    ended = pixlake_here(*arguments(more, table, "rows"), "--skip-existing", "--json")
    assert (ended.code, ended.json["embedded_now"], ended.json["skipped"]) == (0, 5, 5), ended.err
    audit(table, "rows", image_server.expected(range(30)))
