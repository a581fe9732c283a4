"""Imports that take long are named, and quick ones are not."""

import time

import pytest

from jobs.commands.options import importing


def test_slow_imports_are_named_while_they_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    said = ""
    with importing(patience_s=0.0):
        deadline = time.monotonic() + 60
        while not said and time.monotonic() < deadline:
            said = capsys.readouterr().err
            time.sleep(0.01)
    assert said == "importing libraries\n"


def test_quick_imports_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    with importing(patience_s=3600.0):
        pass
    assert capsys.readouterr() == ("", "")
