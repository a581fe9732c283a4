"""What a run shows on stderr."""

import time

import pytest
from rich.console import Console

import jobs.session.progress
from jobs.session.progress import Progress, duration, working


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (7.9, "7 s"), (60, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (360000, "100 h 00 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_line_from_the_start_to_the_end() -> None:
    progress = Progress()
    progress.plan(total=10_000, done=2_000, stages=())
    progress.new_execution()
    assert progress.line() == "2,000 of 10,000 done, 0 failed, starting workers"
    progress.embedded(0)
    assert progress.line().endswith("starting workers")
    progress.tally.first_block = time.monotonic() - 10
    progress.embedded(4_000)
    assert progress.line().startswith("6,000 of 10,000 done, 0 failed, 4")
    assert progress.line().endswith(" images/s, 10 s left") or progress.line().endswith(" images/s, 9 s left")
    progress.tally.rows, progress.tally.failed, progress.tally.seconds = 4_000, 10, {"write": 1.0}
    assert ", 10 failed, " in progress.line()
    assert progress.line().endswith("left, bound by write")


def test_a_second_execution_counts_on() -> None:
    progress = Progress()
    progress.plan(total=100, done=0, stages=())
    progress.tally.rows, progress.tally.first_block = 40, time.monotonic()
    progress.new_execution()
    progress.embedded(10)
    assert progress.line().startswith("50 of 100 done")


def test_plain_lines_at_intervals_where_stderr_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Progress() as progress:
        progress.phase("opening the source")
        progress.tick()
        monkeypatch.setattr(jobs.session.progress, "LINE_INTERVAL_S", 0.0)
        progress.tick()
        progress.note("a file was left out: [b]odd[/b].txt " + "x" * 200)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "opening the source",
        "0 of 0 done, 0 failed, starting workers",
        "a file was left out: [b]odd[/b].txt " + "x" * 200,
    ]


def test_a_terminal_has_one_live_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(jobs.session.progress, "Console", lambda **options: Console(force_terminal=True, **options))
    with Progress() as progress:
        assert progress.live is not None
        progress.plan(total=3, done=1, stages=())
        progress.tick()
        time.sleep(0.2)
    assert "1 of 3 done" in capsys.readouterr().err


def test_work_of_a_while_is_named_once_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with working("loading null"):
        pass
    assert capsys.readouterr() == ("", "loading null\n")
