"""Many epochs and many refreshes in one process: neither its memory nor its open files grow."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from end_to_end.command import embed_here, pixlake_here
from made.solid_images import png_of
from made.sources import make_folder

EPOCH, WARM = 10, 12
"""Rows of an epoch; epochs or refreshes after which caches are as full as they become."""
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20

Work = Callable[[Path, int], None]


def standing() -> tuple[int, float]:
    """Open files of this process, and MB of it that lie in memory."""
    gc.collect()
    resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return len(os.listdir("/proc/self/fd")), resident_pages * PAGE_MB


def embed_in_epochs(folder: Path, epochs: int) -> None:
    make_folder(folder / "images", range(epochs * EPOCH))
    sizes = (f"cluster.epoch_rows={EPOCH}", f"source.rows_per_shard={EPOCH}", "cluster.commit_interval_s=1000")
    ended = embed_here(f"{folder}/images", f"{folder}/lake/t", *(f"--set={size}" for size in sizes), "--json")
    assert (ended.code, ended.json["vectors"]) == (0, epochs * EPOCH), ended.err
    assert ended.json["commits"] >= epochs


def refresh(folder: Path, times: int) -> None:
    make_folder(folder / "images", range(10))
    assert embed_here(f"{folder}/images", f"{folder}/lake/t").code == 0
    for number in range(times):
        (folder / "images" / f"{number % 10:05d}.png").write_bytes(png_of(100 + number))
        here = ("--set=cluster.executor=local", "--set=decode.isolate=false", "--json")
        ended = pixlake_here("refresh", f"{folder}/lake/t", *here)
        assert (ended.code, ended.json["embedded"]) == (0, 1), ended.err


def check(work: Work, folder: Path, times: int, growth_mb: float) -> None:
    """Open files after so many are as after a few; memory is, but for that much."""
    work(folder / "warm", WARM)
    files, memory_mb = standing()
    work(folder / "many", times)
    files_after, memory_mb_after = standing()
    assert files_after <= files
    assert memory_mb_after - memory_mb <= growth_mb


@pytest.mark.parametrize(("work", "times"), [(embed_in_epochs, 30), (refresh, 12)])
def test_some_leave_nothing_behind(tmp_path: Path, work: Work, times: int) -> None:
    check(work, tmp_path, times, 40)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("work", "times"), [(embed_in_epochs, 1500), (refresh, 200)])
def test_many_leave_nothing_behind(tmp_path: Path, work: Work, times: int) -> None:
    """Minutes each."""
    check(work, tmp_path, times, 40 + 0.05 * times)
