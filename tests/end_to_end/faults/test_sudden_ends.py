"""A run that somebody else ends: it has its sentence, its report and its exit code, and the same command goes on."""

import json
import os
import signal
from pathlib import Path

import pytest

from end_to_end.audit import audit, committed_uris
from end_to_end.command import HERE, LOCAL, LOOPBACK, RAY, end, pixlake_here, start
from end_to_end.processes import descendants, driver_of, kill_leftovers, wait_for_descendant, wait_until
from made.sources import write_manifest
from servers.images import ImageServer

SIZES = (
    *("--set", "cluster.block_rows=20", "--set", "cluster.rows_per_fragment=40"),
    *("--set", "cluster.num_cpus=2", "--set", "cluster.commit_interval_s=0.1"),
)


@pytest.mark.kill
@pytest.mark.parametrize(
    ("victim", "executor", "says"),
    [
        ("driver", LOCAL, "killed (SIGKILL)"),
        pytest.param("raylet/raylet", RAY, "raylet is gone", marks=[pytest.mark.ray, pytest.mark.slow]),
        pytest.param("gcs_server", RAY, "connect to GCS", marks=[pytest.mark.ray, pytest.mark.slow]),
    ],
)
def test_whoever_is_killed_the_run_says_so_and_the_same_command_goes_on(
    tmp_path: Path, image_server: ImageServer, victim: str, executor: tuple[str, ...], says: str
) -> None:
    expected = image_server.expected(range(400))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    arguments = ("embed", manifest, table, *executor, *LOOPBACK, *SIZES, "--json")
    image_server.hold_from(210)
    process = start(*arguments)
    image_server.wait_for_hold(240)
    wait_until(lambda: len(committed_uris(table)) >= 40)
    driver = driver_of(process)
    below = descendants(driver)
    os.kill(driver if victim == "driver" else wait_for_descendant(driver, victim), signal.SIGKILL)
    ended = end(process)
    kill_leftovers(below)
    assert ended.code == 75, ended.err
    assert ended.json["status"] == "interrupted"
    assert says in ended.json["message"]
    assert "same command again" in ended.json["message"]
    assert ended.err.splitlines()[-1] == f"pixlake: {ended.json['message']}"
    published = committed_uris(table)
    # A wave may have landed that the driver had no time to tell.
    assert 40 <= ended.json["vectors"] <= len(published)
    stored = json.loads((Path(f"{table}__runs") / ended.json["run_id"] / "report.json").read_text())
    assert stored == ended.json
    image_server.forget()
    again = pixlake_here("embed", manifest, table, *LOCAL, *HERE, *LOOPBACK, *SIZES, "--json")
    assert (again.code, again.json["status"]) == (0, "complete"), again.err
    assert not published & set(image_server.requested)
    audit(table, expected)
