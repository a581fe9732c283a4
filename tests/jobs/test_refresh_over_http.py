"""Images on the web, whose manifest says nothing of versions: their servers are asked, and send what has changed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from end_to_end.command import LOCAL, LOOPBACK, pixlake_here
from made.solid_images import png_of
from servers.conditional import Conditional

NAMES = ("same.png", "other.png", "touched.png", "gone.png", "dated-same.png", "dated-other.png", "plain.png")


@pytest.fixture
def server() -> Iterator[Conditional]:
    running = Conditional()
    yield running
    running.close()


def test_servers_are_asked_on_request_and_send_what_has_changed(server: Conditional, tmp_path: Path) -> None:
    uris = [server.put(name, png_of(number)) for number, name in enumerate(NAMES)]
    manifest, table = str(tmp_path / "m.parquet"), str(tmp_path / "lake" / "photos")
    pq.write_table(pa.table({"uri": uris, "key": NAMES}), manifest)
    sets = (*LOCAL, *LOOPBACK, "--set", "source.id_column=key")
    assert pixlake_here("embed", manifest, table, *sets).code == 0
    before = _rows(table)
    server.put("other.png", png_of(101))
    # The same picture in other bytes has another etag, and so has a comment behind the end of a PNG.
    server.put("touched.png", png_of(2))
    server.put("dated-other.png", png_of(105))
    server.delete("gone.png")
    server.asked.clear()
    quiet = pixlake_here("refresh", table, "--json").json
    assert (quiet["counts"]["unchanged"], quiet["to_fetch"], server.asked.total()) == (7, 0, 0)
    told = pixlake_here("refresh", table, "--check-http", "--dry-run", "--json").json
    assert (told["counts"]["asked"], told["to_fetch"], server.asked.total()) == (7, 7, 0)
    report = pixlake_here("refresh", table, "--check-http", "--json").json
    # `touched.png` has the etag of before: what it says is the MD5 of its bytes. `plain.png` says nothing.
    assert _told(report) == {"unchanged": 3, "changed": 3, "touched": 1}
    assert dict(server.asked) == {
        ("same.png", 304): 1,
        ("touched.png", 304): 1,
        ("dated-same.png", 304): 1,
        ("other.png", 200): 1,
        ("dated-other.png", 200): 1,
        ("plain.png", 200): 1,
        ("gone.png", 404): 1,
    }
    after = _rows(table)
    changed = {name for name in NAMES if after[name]["sha256"] != before[name]["sha256"]}
    assert changed == {"other.png", "dated-other.png"}
    assert after["gone.png"]["vector"] == before["gone.png"]["vector"]
    assert [row["error_class"] for row in lance.dataset(f"{table}__failures.lance").to_table().to_pylist()] == [
        "not_found"
    ]
    server.asked.clear()
    again = pixlake_here("refresh", table, "--check-http", "--json").json
    assert _told(again)["unchanged"] == 5
    assert sum(count for (_, status), count in server.asked.items() if status == 304) == 5


def _told(report: dict[str, Any]) -> dict[str, int]:
    assert report["status"] == "complete"
    return {state: count for state, count in report["counts"].items() if count}


def _rows(table: str) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in lance.dataset(f"{table}.lance").to_table().to_pylist()}
