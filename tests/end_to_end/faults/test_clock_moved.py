"""Clocks that are set while a job runs, and differ between machines: nothing ends early, and nothing has two owners."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lance
import pytest

from end_to_end.audit import audit, committed_uris, num_versions
from end_to_end.command import LOCAL, LOOPBACK, embed_here, end, start
from end_to_end.processes import driver_of
from jobs.nights.lease import Lease
from made.moved_clock import MovedClock
from made.sources import write_manifest
from operators.storage.stores import NO_OPTIONS
from servers.images import ImageServer

HOUR = 3600
SETTINGS = (
    *("cluster.block_rows=20", "cluster.rows_per_fragment=40", "cluster.commit_interval_s=0.1"),
    *("cluster.num_cpus=2", "cluster.no_progress_timeout_s=240"),
)
HOLDER = """
import sys, time
from jobs.nights.lease import Lease
from operators.storage.stores import NO_OPTIONS
lease = Lease(sys.argv[1], NO_OPTIONS, beat_s=0.4, stale_s=2.0)
print(lease.take(), time.time(), flush=True)
for line in sys.stdin:
    lease.check()
    print("held", time.time(), flush=True)
"""


@pytest.fixture
def clock(tmp_path: Path) -> MovedClock:
    return MovedClock(tmp_path)


@pytest.mark.kill
def test_a_run_whose_clock_jumps_goes_on_and_one_with_another_clock_takes_over(
    tmp_path: Path, image_server: ImageServer, clock: MovedClock
) -> None:
    expected = image_server.expected(range(400))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    settings = tuple(f"--set={each}" for each in SETTINGS)
    clock.move(HOUR)
    image_server.hold_from(210)
    process = start("embed", manifest, table, *LOCAL, *LOOPBACK, *settings, environment=clock.environment)
    image_server.wait_for_hold()
    claimed = lance.dataset(f"{table}.lance").metadata["pixlake.term"]
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()[: len("2026-11-29T23")]
    earlier = (datetime.now(UTC) + timedelta(minutes=50)).isoformat()[: len("2026-11-29T23")]
    assert ahead in claimed or earlier in claimed, "the clock has moved"
    for seconds in (-HOUR, 24 * HOUR, 0):
        clock.move(seconds)
        time.sleep(0.7)
        assert process.poll() is None, "nothing ends early"
    driver = driver_of(process)
    clock.move(-HOUR)
    os.kill(driver, signal.SIGSTOP)
    image_server.release()
    published = committed_uris(table)
    image_server.forget()
    ended = embed_here(manifest, table, *LOOPBACK, *settings, "--json")
    assert (ended.code, ended.json["status"]) == (0, "complete"), ended.err
    assert not published & set(image_server.requested)
    versions = num_versions(table)
    os.kill(driver, signal.SIGCONT)
    first = end(process)
    assert first.code == 1, first.err
    assert "took the table over" in first.out + first.err
    assert num_versions(table) == versions
    audit(table, expected)


@pytest.mark.parametrize("jumps", [(HOUR, -HOUR, 48 * HOUR)])
def test_a_lease_has_one_holder_whatever_its_clock_says(
    tmp_path: Path, clock: MovedClock, jumps: tuple[int, ...]
) -> None:
    folder = str(tmp_path / "lease")
    clock.move(-HOUR)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **clock.environment},
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        taken, said = holder.stdout.readline().split()
        assert taken == "True"
        assert float(said) < time.time() - HOUR / 2, "the clock has moved"
        with Lease(folder, NO_OPTIONS, stale_s=2.0) as other:
            for seconds in jumps:
                clock.move(seconds)
                # Before it beats again: it counts since its last one.
                holder.stdin.write("\n")
                holder.stdin.flush()
                held, said = holder.stdout.readline().split()
                assert held == "held"
                assert abs(float(said) - time.time() - seconds) < HOUR / 2
                time.sleep(0.6)
                assert not other.take()
            holder.stdin.close()
            holder.kill()
