"""Images whose storage is away for a while, for good, or slow for some: what becomes of rows, and how the run ends."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from end_to_end.audit import Expected, audit, read
from end_to_end.command import LOOPBACK, Ended, embed_here
from made.solid_images import png_of
from made.sources import write_manifest
from servers.faults import FaultServer

ROWS = 200
SIZES = ("--set", "cluster.block_rows=10", "--set", "cluster.rows_per_fragment=10", "--set", "cluster.epoch_rows=1000")
PATIENT = ("--set", "fetch.retry_s=60", "--set", "fetch.aside_s=20")
# A busy machine itself stands still for a second at times: with limits of one, that was a row's failure once.
IMPATIENT = ("--set", "fetch.retry_s=3", "--set", "fetch.first_byte_s=3", "--set", "fetch.aside_s=0.5")


@pytest.fixture
def server() -> Iterator[FaultServer]:
    running = FaultServer()
    running.bodies = {f"{number}.png": png_of(number) for number in range(ROWS)}
    yield running
    running.close()


def of(server: FaultServer, tmp_path: Path) -> tuple[str, str, list[Expected]]:
    expected = [Expected(f"{server.url}/scripted/{number}.png", number) for number in range(ROWS)]
    return write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos", expected


def run(manifest: str, table: str, *options: str) -> Ended:
    return embed_here(manifest, table, *LOOPBACK, *SIZES, *options, "--json")


def after(server: FaultServer, requests: int, *acts: Callable[[], None], between_s: float = 1.0) -> threading.Thread:
    """Does one after the other once so many requests have come in."""

    def act() -> None:
        deadline = time.monotonic() + 120
        while sum(server.asked.values()) < requests and time.monotonic() < deadline:
            time.sleep(0.01)
        for each in acts:
            each()
            time.sleep(between_s)

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_a_store_that_restarts_in_mid_run_costs_no_row(server: FaultServer, tmp_path: Path) -> None:
    manifest, table, expected = of(server, tmp_path)
    restarting = after(server, 80, server.stop, server.restart)
    ended = run(manifest, table, *PATIENT)
    restarting.join()
    assert (ended.code, ended.json["vectors"], ended.json["failures"]) == (0, ROWS, 0), ended.err
    audit(table, expected)


def test_a_store_that_is_gone_ends_the_run_without_failures_and_the_same_command_goes_on(
    server: FaultServer, tmp_path: Path
) -> None:
    manifest, table, expected = of(server, tmp_path)
    server.requests_until_outage = 40
    ended = run(manifest, table, *IMPATIENT)
    assert (ended.code, ended.json["status"], ended.json["failures"]) == (75, "interrupted", 0), ended.err
    assert "HTTP 503" in ended.json["message"]
    assert "run the same command again" in ended.json["message"]
    published, failures = read(table)
    assert failures.num_rows == 0
    server.requests_until_outage = server.outage = None
    again = run(manifest, table, *PATIENT)
    assert (again.code, again.json["vectors"]) == (0, ROWS), again.err
    assert again.json["embedded_now"] == ROWS - published.num_rows
    audit(table, expected)


def test_rows_of_a_store_that_is_gone_are_failures_where_so_many_may_be(server: FaultServer, tmp_path: Path) -> None:
    manifest, table, expected = of(server, tmp_path)
    server.outage = "503"
    ended = run(manifest, table, *IMPATIENT, "--max-failed", "1")
    assert (ended.code, ended.json["failures"]) == (0, ROWS), ended.err
    audit(table, [Expected(each.uri, failure="unavailable") for each in expected])


def test_slow_images_fail_together_at_the_end_and_the_others_do_not_wait(server: FaultServer, tmp_path: Path) -> None:
    manifest, table, expected = of(server, tmp_path)
    slow = range(0, ROWS, 10)
    server.faulty = {f"{number}.png": "silent" for number in slow}
    started = time.monotonic()
    options = ("--set", "fetch.retry_s=5", "--set", "fetch.first_byte_s=2", "--set", "fetch.aside_s=0.5")
    ended = run(manifest, table, *options, "--set", "fetch.max_attempts=2")
    assert (ended.code, ended.json["failures"]) == (0, len(slow)), ended.err
    assert time.monotonic() - started < 60, "4 s for each of 20 blocks, and more than that, one after the other"
    audit(table, [Expected(e.uri, failure="timeout") if e.number in slow else e for e in expected])
