"""The line of an embed run on stderr."""

import time

import pytest

import jobs.session.progress
from jobs.embedding.progress import RunProgress


def test_the_line_from_the_start_to_the_end() -> None:
    progress = RunProgress()
    progress.plan(total=10_000, done=2_000, stages=(), models="clip")
    progress.new_execution()
    progress.waits_since -= 75
    assert progress.line() == (
        "2,000 of 10,000 done, 0 failed, waiting for workers, which start and load clip: libraries, weights, canary "
        "images, 1 min 15 s so far"
    )
    progress.embedded(0)
    assert progress.line().endswith("waiting for the first images to come out of the last stage, 1 min 15 s so far")
    progress.tally.first_block = time.monotonic() - 10
    progress.embedded(4_000)
    assert progress.line().startswith("6,000 of 10,000 done, 0 failed, 4")
    assert progress.line().endswith(" images/s, 10 s left") or progress.line().endswith(" images/s, 9 s left")
    progress.tally.rows, progress.tally.failed, progress.tally.seconds = 4_000, 10, {"write": 1.0}
    assert ", 10 failed, " in progress.line()
    assert progress.line().endswith("left, bound by write")


def test_a_second_execution_counts_on() -> None:
    progress = RunProgress()
    progress.plan(total=100, done=0, stages=())
    progress.tally.rows, progress.tally.first_block = 40, time.monotonic()
    progress.new_execution()
    progress.embedded(10)
    assert progress.line().startswith("50 of 100 done")


def test_plain_lines_at_intervals_where_stderr_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunProgress() as progress:
        progress.phase("opening the source")
        progress.tick()
        monkeypatch.setattr(jobs.session.progress, "LINE_INTERVAL_S", 0.0)
        progress.tick()
        progress.note("a file was left out: [b]odd[/b].txt " + "x" * 200)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "opening the source",
        "0 of 0 done, 0 failed, waiting for workers, which start, 0 s so far",
        "a file was left out: [b]odd[/b].txt " + "x" * 200,
    ]
