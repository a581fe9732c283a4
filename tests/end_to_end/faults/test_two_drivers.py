"""Two drivers on one table: one of them publishes, the other ends with a clear message; every row once."""

import json
import os
import signal
import time
from pathlib import Path

import lance
import pytest

from end_to_end.audit import audit, committed_uris, num_versions
from end_to_end.command import HERE, LOCAL, LOOPBACK, end, pixlake, pixlake_here, start
from end_to_end.processes import wait_until
from made.sources import make_folder, write_manifest
from operators.base.failpoints import ON, ONCE
from servers.images import ImageServer

SIZES = ("--set", "cluster.block_rows=20", "--set", "cluster.rows_per_fragment=40")
COMMITS = ("--set", "cluster.commit_interval_s=0.1")


@pytest.mark.kill
def test_a_later_driver_takes_over_and_the_earlier_one_can_publish_no_more(
    tmp_path: Path, image_server: ImageServer
) -> None:
    expected = image_server.expected(range(600))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    arguments = ("embed", manifest, table, *LOCAL, *LOOPBACK, *SIZES, *COMMITS)
    image_server.hold_from(300)
    first = start(*arguments)
    image_server.wait_for_hold()
    published = committed_uris(table)
    assert published
    second = start(*arguments, "--json")
    wait_for_term(table, 2)
    image_server.release()
    ended_first, ended_second = end(first), end(second)
    assert ended_first.code == 1
    assert "took the table over" in ended_first.out + ended_first.err
    assert "Traceback" not in ended_first.err
    assert (ended_second.code, ended_second.json["status"]) == (0, "complete"), ended_second.err
    audit(table, expected)
    assert all(image_server.requested[uri] == 1 for uri in published)


def test_two_started_at_once_on_a_new_table(tmp_path: Path) -> None:
    expected = make_folder(tmp_path / "images", range(300))
    table = f"{tmp_path}/lake/photos"
    arguments = ("embed", f"{tmp_path}/images", table, *LOCAL, *SIZES, *COMMITS)
    both = [end(process) for process in [start(*arguments), start(*arguments)]]
    assert 0 in {each.code for each in both}, [each.err for each in both]
    for each in both:
        assert "Traceback" not in each.err
        assert each.code == 0 or "claimed the table" in each.err or "took the table over" in each.out + each.err
    audit(table, expected)


def wait_for_term(table: str, number: int) -> None:
    deadline = time.monotonic() + 60
    while json.loads(lance.dataset(f"{table}.lance").metadata["pixlake.term"])["number"] < number:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.kill
@pytest.mark.parametrize(
    "place",
    [
        pytest.param("write.before@3", marks=pytest.mark.slow),
        "table.built@8",
        pytest.param("table.landed@8", marks=pytest.mark.slow),
    ],
)
def test_a_driver_that_slept_while_another_took_over_publishes_nothing_when_it_wakes_up(
    tmp_path: Path, image_server: ImageServer, place: str
) -> None:
    """Also with a commit under way, or with one that landed and whose answer comes when all is over."""
    name, _, at = place.partition("@")
    expected = image_server.expected(range(400))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    arguments = ("embed", manifest, table, *LOCAL, *LOOPBACK, *SIZES, *COMMITS)
    done = tmp_path / "done"
    done.mkdir()
    first = start(*arguments, environment={ON: f"{name}=stop@{at}", ONCE: str(done)})
    wait_until(lambda: (done / name).exists() and (done / name).read_text())
    ended_second = pixlake_here(*arguments, *HERE, "--json")
    assert (ended_second.code, ended_second.json["status"]) == (0, "complete"), ended_second.err
    versions = num_versions(table)
    # The process that acted, as the failpoint's record has it: the driver, and not the process that watches it.
    os.kill(int((done / name).read_text().split()[0]), signal.SIGCONT)
    ended_first = end(first)
    assert ended_first.code == 1, ended_first.err
    assert "took the table over" in ended_first.out + ended_first.err
    assert num_versions(table) == versions
    audit(table, expected)


@pytest.mark.kill
@pytest.mark.slow
def test_a_commit_that_is_answered_late_counts_once_for_the_run_that_made_it_and_for_the_next(
    tmp_path: Path, image_server: ImageServer
) -> None:
    expected = image_server.expected(range(300))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    arguments = ("embed", manifest, table, *LOCAL, *LOOPBACK, *SIZES, *COMMITS)
    done = tmp_path / "done"
    done.mkdir()
    ended = pixlake(*arguments, "--json", environment={ON: "table.landed=wait:2@8", ONCE: str(done)})
    assert (ended.code, ended.json["status"]) == (0, "complete"), ended.err
    assert (done / "table.landed").exists()
    assert max(image_server.requested.values()) == 1
    audit(table, expected)
