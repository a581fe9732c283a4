"""What a job shows on stderr."""

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


def test_plain_lines_at_intervals_where_stderr_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Progress() as progress:
        progress.phase("opening the source")
        progress.counted("1 of 3 written")
        monkeypatch.setattr(jobs.session.progress, "LINE_INTERVAL_S", 0.0)
        progress.counted("2 of 3 written")
        progress.note("a file was left out: [b]odd[/b].txt " + "x" * 200)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "opening the source",
        "2 of 3 written",
        "a file was left out: [b]odd[/b].txt " + "x" * 200,
    ]


def test_a_terminal_has_one_live_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(jobs.session.progress, "Console", lambda **options: Console(force_terminal=True, **options))
    with Progress() as progress:
        assert progress.live is not None
        progress.counted("1 of 3 written")
        time.sleep(0.2)
        without = capsys.readouterr().err
        progress.counted("2 of 3 written", 2 / 3)
        time.sleep(0.2)
    bar = capsys.readouterr().err
    assert "1 of 3 written" in without
    assert "━" not in without
    # Two thirds of 24 columns, and the half one of the rest.
    assert "2 of 3 written" in bar
    assert "━" * 16 in bar


def test_a_phase_that_lasts_is_said_again_with_its_seconds_until_rows_are_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Progress()
    progress.still()
    progress.phase("loading clip")
    progress.still()
    began = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: began + 75)
    progress.still()
    progress.still()
    progress.counted("1 of 3 written")
    monkeypatch.setattr(time, "monotonic", lambda: began + 175)
    progress.still()
    assert capsys.readouterr().err.splitlines() == ["loading clip", "loading clip, 1 min 15 s so far"]


def test_it_is_said_by_itself(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.session.progress, "LINE_INTERVAL_S", 0.0)
    monkeypatch.setattr(jobs.session.progress, "_BEAT_S", 0.01)
    said: list[str] = []
    with working("loading null"):
        deadline = time.monotonic() + 60
        while len(said) < 3 and time.monotonic() < deadline:
            said += capsys.readouterr().err.splitlines()
            time.sleep(0.01)
    assert said[:2] == ["loading null", "loading null, 0 s so far"]


def test_work_of_a_while_is_named_once_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with working("loading null"):
        pass
    assert capsys.readouterr() == ("", "loading null\n")
