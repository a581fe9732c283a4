"""A swap's process killed at each kind of commit that it makes; started again, it ends as if nothing had been."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from made.noisy_photos import GATES, SETTINGS, SQUASHED, NoisyPhotos
from pipelines.swap.state import read_swap
from pipelines.table.errors import RefusedError

KILLED_AT = """
import os, signal, sys
import lance
when, what = sys.argv[1].split()

def watched(call, name):
    def run(*arguments, **options):
        done = arguments[1] if len(arguments) > 1 else None
        doing = type(getattr(done, "operation", done)).__name__ if name == "commit" else name
        if (when, what) == ("before", doing):
            os.kill(os.getpid(), signal.SIGKILL)
        made = call(*arguments, **options)
        if (when, what) == ("after", doing):
            os.kill(os.getpid(), signal.SIGKILL)
        return made
    return run

lance.LanceDataset.commit = staticmethod(watched(lance.LanceDataset.commit, "commit"))
for name in ("add_columns", "alter_columns", "drop_columns"):
    setattr(lance.LanceDataset, name, watched(getattr(lance.LanceDataset, name), name))
from jobs.cli import main
main(sys.argv[2:])
"""
"""`pixlake`, whose process is killed before or after the first commit of a kind."""


def killed(when: str, *arguments: str) -> bool:
    """Whether the command came so far."""
    sets = [each for value in (*SETTINGS, *GATES) for each in ("--set", value)]
    command = [sys.executable, "-c", KILLED_AT, when, *arguments, *sets]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    ended = subprocess.run(command, capture_output=True, env=environment, timeout=300)
    return ended.returncode == -signal.SIGKILL


@pytest.mark.kill
@pytest.mark.timeout(600)
def test_a_swap_killed_in_every_step_ends_as_one_that_was_not(tmp_path: Path) -> None:
    photos = NoisyPhotos(tmp_path).made(10)
    old, new = photos.vectors(), photos.alone(range(10), SQUASHED)
    states = []
    # The side table is empty, and its first rows come by a `Merge`.
    for when in (
        "before add_columns",
        "before Merge",
        "before DataReplacement",
        "after DataReplacement",
        "after alter_columns",
    ):
        assert killed(when, "swap", photos.table, "--set", SQUASHED), when
        # Whatever was cut off: the live column is one of the two, and whole.
        assert photos.vectors() in (old, new)
        swap = read_swap(photos.dataset.metadata)
        states.append(swap.state if swap is not None else None)
    assert states == ["backfill"] * 4 + ["flipping"]
    report = photos.swap(SQUASHED)
    assert (report.status, report.swap.state, report.swap.coverage) == ("complete", "flipped", 1.0)
    assert (photos.vectors(), photos.vectors("vector_before")) == (new, old)


@pytest.mark.kill
@pytest.mark.timeout(600)
def test_a_rollback_and_a_finish_killed_before_and_after_they_change_columns_end_as_asked(tmp_path: Path) -> None:
    photos = NoisyPhotos(tmp_path).made(6)
    old, new = photos.vectors(), photos.alone(range(6), SQUASHED)
    photos.swap(SQUASHED)
    for when in ("before alter_columns", "after alter_columns"):
        assert killed(when, "swap", photos.table, "--rollback"), when
        assert photos.vectors() in (old, new)
    with pytest.raises(RefusedError, match="a rollback was cut off"):
        photos.swap()
    assert photos.swap(action="rollback").swap.state == "rolled_back"
    assert (photos.vectors(), photos.vectors("vector_next")) == (old, new)
    photos.swap()
    for when in ("before drop_columns", "after drop_columns"):
        assert killed(when, "swap", photos.table, "--finish", "--insist"), when
        assert photos.vectors() == new
    assert photos.swap(action="finish", insist=True).swap.state == "finished"
    assert {name for name in photos.dataset.schema.names if name.startswith("vector")} == {"vector"}
