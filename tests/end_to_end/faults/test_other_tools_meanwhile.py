"""Plain lancedb at work on both tables while a run writes them: compaction, an index, deletes. Nothing is lost."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lancedb
import pytest

from end_to_end.audit import audit, committed_uris
from end_to_end.command import LOCAL, LOOPBACK, end, start
from end_to_end.processes import wait_until
from made.sources import write_manifest
from servers.images import ImageServer

SIZES = ("--set=cluster.block_rows=20", "--set=cluster.rows_per_fragment=20", "--set=cluster.commit_interval_s=0.05")
DELETED = 5


@pytest.mark.kill
def test_optimize_indexes_and_deletes_during_a_run_lose_and_repeat_nothing(
    tmp_path: Path, image_server: ImageServer
) -> None:
    expected = image_server.expected(range(600))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    image_server.hold_from(450)
    process = start("embed", manifest, table, *LOCAL, *LOOPBACK, *SIZES, "--json")
    wait_until(lambda: committed_uris(table))
    deleted = other_tool_at_work(process, f"{tmp_path}/lake", image_server.release)
    ended = end(process)
    assert (ended.code, ended.json["status"]) == (0, "complete"), ended.err
    assert len(deleted) == DELETED
    assert max(image_server.requested.values()) == 1, "nothing that was committed was done again"
    audit(table, [each for each in expected if each.uri not in deleted], gaps=True)
    found = lancedb.connect(f"{tmp_path}/lake").open_table("photos").search().where("id IS NOT NULL").to_arrow()
    assert found.num_rows == 600 - DELETED, "an index that was made meanwhile hides no row"


def other_tool_at_work(process: "subprocess.Popen[str]", lake: str, release: Callable[[], None]) -> set[str]:
    """Compact, index and delete until the run is over, which waits until as much is deleted as must be; gives the URIs
    deleted."""
    deleted: set[str] = set()
    indexed = False
    while process.poll() is None:
        photos = lancedb.connect(lake).open_table("photos")
        # Of a compaction and our commit that touch the same fragment one is refused, and may be the tool's.
        with suppress_conflict():
            photos.optimize()
        with suppress_conflict():
            lancedb.connect(lake).open_table("photos__failures").optimize()
        with suppress_conflict():
            if not indexed:
                photos.create_index("id", config=lancedb.index.BTree())
                indexed = True
        if len(deleted) < DELETED:
            uri = photos.search().select(["uri"]).limit(1).to_list()[0]["uri"]
            photos.delete(f"uri = '{uri}'")
            deleted.add(uri)
        else:
            release()
    assert indexed
    return deleted


@contextmanager
def suppress_conflict() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if "conflict" not in str(error):
            raise
