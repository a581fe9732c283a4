"""A swap's process killed at every kind of commit that it makes; started again, it ends as if nothing had been."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import lance
import pytest

from made.noisy_photos import GATES, SETTINGS, SQUASHED, NoisyPhotos

KILLED_AT = """
import os, signal, sys
import lance
left = int(sys.argv[1])

def counted(call):
    def run(*arguments, **options):
        global left
        left -= 1
        made = call(*arguments, **options) if left else None
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return made
    return run

lance.LanceDataset.commit = staticmethod(counted(lance.LanceDataset.commit))
for name in ("add_columns", "alter_columns", "drop_columns", "update_field_metadata"):
    setattr(lance.LanceDataset, name, counted(getattr(lance.LanceDataset, name)))
from jobs.cli import main
main(sys.argv[2:])
"""
"""`pixlake` whose process is killed in place of its nth commit."""


def killed_at(commit: int, *arguments: str) -> int:
    sets = [each for value in (*SETTINGS, *GATES) for each in ("--set", value)]
    command = [sys.executable, "-c", KILLED_AT, str(commit), *arguments, *sets]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.run(command, capture_output=True, env=environment, timeout=300).returncode


def spaces(photos: NoisyPhotos) -> dict[str, Any]:
    schema = lance.dataset(f"{photos.table}.lance").schema
    return {field.name: field.metadata for field in schema if field.name.startswith("vector")}


# Of `swap`: ten commits begin it, then the side table is made and filled, the main table filled, and flipped.
@pytest.mark.kill
@pytest.mark.parametrize("commits", [(1, 6, 9), (11, 14, 19), (22, 24, 27), (29, 31, 33)])
def test_a_swap_killed_three_times_ends_as_one_that_was_not(tmp_path: Path, commits: tuple[int, ...]) -> None:
    photos = NoisyPhotos(tmp_path).made(10)
    old, new = photos.vectors(), photos.alone(range(10), SQUASHED)
    kills = 0
    for commit in commits:
        kills += killed_at(commit, "swap", photos.table, "--set", SQUASHED) == -signal.SIGKILL
        # Whatever was cut off: the live column is one of the two, and whole.
        assert photos.vectors() in (old, new)
    assert kills
    report = photos.swap(SQUASHED)
    assert (report.status, report.swap.state, report.swap.coverage) == ("complete", "flipped", 1.0)
    assert (photos.vectors(), photos.vectors("vector_before")) == (new, old)


@pytest.mark.kill
def test_a_rollback_and_a_finish_killed_at_each_commit_end_as_asked(tmp_path: Path) -> None:
    photos = NoisyPhotos(tmp_path).made(6)
    old, new = photos.vectors(), photos.alone(range(6), SQUASHED)
    photos.swap(SQUASHED)
    for commit in (5, 6, 7):
        assert killed_at(commit, "swap", photos.table, "--rollback") == -signal.SIGKILL
        assert photos.vectors() in (old, new)
    assert photos.swap(action="rollback").swap.state == "rolled_back"
    assert (photos.vectors(), photos.vectors("vector_next")) == (old, new)
    photos.swap()
    for commit in (5, 6, 7):
        assert killed_at(commit, "swap", photos.table, "--finish", "--insist") == -signal.SIGKILL
        assert photos.vectors() == new
    assert photos.swap(action="finish", insist=True).swap.state == "finished"
    assert set(spaces(photos)) == {"vector"}
