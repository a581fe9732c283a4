"""A refresh is killed at each of its steps, and run again: the same table as if nothing had happened."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import lance
import pytest

from end_to_end.audit import audit, committed_uris
from end_to_end.command import LOOPBACK, end, pixlake, pixlake_here, start
from end_to_end.processes import descendants, kill_leftovers
from jobs.session.watched import PASS_ON_S
from made.refreshed import HERE, Lake, change_everything, picture, touch
from made.sources import write_manifest
from operators.base.failpoints import ON
from servers.images import ImageServer

KILLED = """
import os, signal
import lance
from jobs.cli import main
real, calls = lance.LanceDataset.commit, []
def commit(*args, **kwargs):
    calls.append(1)
    if len(calls) == {at} and {before}:
        os.kill(os.getpid(), signal.SIGKILL)
    done = real(*args, **kwargs)
    if len(calls) == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
lance.LanceDataset.commit = staticmethod(commit)
main({arguments})
"""


def killed(lake: Lake, at: int, before: bool) -> bool:
    """Whether the refresh was killed around its `at`-th commit; else it has ended well."""
    arguments = ["refresh", lake.table, "--max-deleted", "0.6"]
    script = KILLED.format(at=at, before=before, arguments=arguments)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode in (-signal.SIGKILL, 0), ended.stderr
    return ended.returncode != 0


@pytest.mark.kill
@pytest.mark.parametrize("before", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["before", "after"])
def test_killed_around_every_commit_and_finished_by_the_next(tmp_path: Path, before: bool) -> None:
    lake = Lake(tmp_path)
    lake.source.mkdir()
    for number in range(40):
        picture(lake.source / f"{number:02}.png", number)
    assert pixlake_here("embed", str(lake.source), lake.table, *HERE).code == 0
    kills = 0
    for at in range(5 + (not before), 17, 3):
        step = 100 * at
        picture(lake.source / "00.png", step)
        touch(lake.source / f"{at + 5:02}.png")
        (lake.source / f"{at + 20:02}.png").unlink()
        renamed = next(path for path in sorted(lake.source.iterdir()) if path.name.startswith("m") or path.stem == "01")
        renamed.rename(lake.source / f"moved{at:02}.png")
        picture(lake.source / f"new{at}.png", step + 1)
        (lake.source / "02.png").write_text(f"no image {at}")
        kills += killed(lake, at, before)
        # The table is whole whatever has landed: nothing is there twice, and no image is in neither table.
        rows, failures = lake.rows(), lake.failures()
        assert {path.name for path in lake.source.iterdir() if not path.name.startswith(("new", "moved"))} <= (
            rows.keys() | failures.keys()
        )
        lake.counts("--max-deleted", "0.6")
        lake.vectors_are_those_made_anew()
        assert set(lake.counts()) <= {"unchanged", "gone", "failed"}
    assert kills >= 3
    assert "notice" not in pixlake_here("describe", lake.table).out


@pytest.mark.kill
def test_killed_again_and_again_after_its_failures_an_image_has_one_failure_beside_its_vectors(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.source.mkdir()
    for number in range(6):
        picture(lake.source / f"{number:02}.png", number)
    assert pixlake_here("embed", str(lake.source), lake.table, *HERE).code == 0
    (lake.source / "02.png").write_text("no image")
    picture(lake.source / "03.png", 100)
    for place in ("refresh.failures", "refresh.failures", "refresh.vectors"):
        assert pixlake("refresh", lake.table, environment={ON: f"{place}=kill"}).code == 75
        # `failures` and `rows` hold that nothing is there twice.
        assert lake.failures().keys() == {"02.png"}
        assert lake.rows().keys() >= {"00.png", "01.png", "03.png", "04.png", "05.png"}
    assert lake.refresh().json["failures_deleted"] == 0
    assert (lake.failures().keys(), len(lake.rows())) == ({"02.png"}, 5)
    lake.vectors_are_those_made_anew()


@pytest.mark.kill
def test_the_later_of_two_refreshes_goes_on_and_the_earlier_one_is_fenced(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.source.mkdir()
    for number in range(12):
        picture(lake.source / f"{number:02}.png", number)
    (lake.source / "bad.png").write_text("no image")
    assert pixlake_here("embed", str(lake.source), lake.table, *HERE).code == 0
    change_everything(lake.source)
    both = [start("refresh", lake.table, "--max-deleted", "0.5") for _ in range(2)]
    codes = sorted(end(process).code for process in both)
    assert codes[0] == 0
    assert codes[1] in (0, 1, 2), "fenced, lost the claim, or came after the other had ended"
    lake.counts("--max-deleted", "0.5")
    lake.vectors_are_those_made_anew()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.kill
def test_a_refresh_on_ray_is_killed_with_its_workers_and_finished(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.source.mkdir()
    for number in range(60):
        picture(lake.source / f"{number:02}.png", number)
    assert pixlake_here("embed", str(lake.source), lake.table, *HERE).code == 0
    for number in range(0, 60, 2):
        picture(lake.source / f"{number:02}.png", 1000 + number)
    touch(lake.source / "01.png")
    (lake.source / "03.png").rename(lake.source / "moved.png")
    sizes = ("cluster.block_rows=4", "cluster.rows_per_fragment=4", "cluster.commit_interval_s=0.05")
    arguments = ("refresh", lake.table, "--set=cluster.executor=ray", *(f"--set={size}" for size in sizes))
    version = lance.dataset(lake.table + ".lance").version
    process = start(*arguments)
    deadline = time.monotonic() + 200
    # Claim and barrier are two; the next are the first waves.
    while lance.dataset(lake.table + ".lance").version < version + 5 and time.monotonic() < deadline:
        if process.poll() is not None:
            break
        time.sleep(0.02)
    below = descendants(process.pid)
    process.kill()
    ended = end(process)
    kill_leftovers(below)
    assert ended.code in (-signal.SIGKILL, 0), ended.err
    again = pixlake(*arguments, "--json")
    assert (again.code, again.json["status"]) == (0, "complete"), again.err
    lake.vectors_are_those_made_anew()


@pytest.mark.kill
def test_a_refresh_that_is_asked_to_stop_says_so_and_goes_on_when_it_is_started_again(
    tmp_path: Path, image_server: ImageServer
) -> None:
    expected = image_server.expected(range(60))
    manifest, table = tmp_path / "manifest.parquet", f"{tmp_path}/lake/photos"
    write_manifest(manifest, expected[:10])
    assert pixlake_here("embed", str(manifest), table, *HERE, *LOOPBACK).code == 0
    write_manifest(manifest, expected)
    sizes = ("--set=cluster.block_rows=4", "--set=cluster.commit_interval_s=0.01", "--set=cluster.num_cpus=2")
    image_server.forget()
    image_server.hold_from(40)
    process = start("refresh", table, *sizes, "--json")
    image_server.wait_for_hold()
    process.send_signal(signal.SIGTERM)
    # Its parent passes it on after a moment, and what is left takes less.
    time.sleep(2 * PASS_ON_S)
    image_server.release()
    ended = end(process)
    assert (ended.code, ended.json["status"]) == (75, "interrupted"), ended.err
    published = committed_uris(table)
    again = pixlake("refresh", table, "--json")
    assert (again.code, again.json["status"]) == (0, "complete"), again.err
    # Blocks are committed as they end: the second refresh brings, behind all of the first, rows from anywhere.
    audit(table, sorted(expected, key=lambda each: each.uri not in published), gaps=True)
