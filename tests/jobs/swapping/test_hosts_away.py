"""Images whose host is gone while a new column is filled: the swap waits for another call, as an embed run does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from end_to_end.audit import Expected
from end_to_end.command import LOOPBACK, pixlake_here
from made.noisy_photos import SETTINGS, SQUASHED
from made.solid_images import png_of
from made.sources import write_manifest
from servers.faults import FaultServer

ROWS = 8
IMPATIENT = ("fetch.retry_s=0.4", "fetch.aside_s=0.2")


@pytest.fixture
def server() -> Iterator[FaultServer]:
    running = FaultServer()
    running.bodies = {f"{number}.png": png_of(number) for number in range(ROWS)}
    yield running
    running.close()


@pytest.fixture
def table(server: FaultServer, tmp_path: Path) -> str:
    """All images are embedded, and then their host goes away."""
    rows = [Expected(f"{server.url}/scripted/{number}.png", number) for number in range(ROWS)]
    manifest, table = write_manifest(tmp_path / "manifest.parquet", rows), f"{tmp_path}/lake/photos"
    sets = [f"--set={each}" for each in (*SETTINGS, "decode.isolate=false")]
    assert pixlake_here("embed", manifest, table, "--model", "null", *LOOPBACK, *sets).code == 0
    server.outage = "503"
    return table


def swapped(table: str, *sets: str) -> tuple[int, Any]:
    given = [f"--set={each}" for each in (*SETTINGS, SQUASHED, *sets)]
    ended = pixlake_here("swap", table, "--to", "backfill", *LOOPBACK, *given, "--json")
    return ended.code, ended.json


def test_a_backfill_is_resumable_and_writes_no_failures(server: FaultServer, table: str) -> None:
    code, report = swapped(table, *IMPATIENT)
    assert (code, report["status"], report["filled_now"], report["swap"]["state"]) == (75, "interrupted", 0, "backfill")
    assert "HTTP 503" in report["message"]
    assert "run the same command again" in report["message"]

    server.outage = None
    code, report = swapped(table)
    assert (code, report["filled_now"], report["swap"]["state"]) == (0, ROWS, "filled")


def test_they_are_failures_where_so_many_may_be(table: str) -> None:
    code, report = swapped(table, *IMPATIENT, "max_failed=1")
    assert (code, report["filled_now"], report["swap"]["unfilled"]["unavailable"]) == (0, 0, ROWS)
