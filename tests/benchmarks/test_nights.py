"""The nights, few and small: what is measured is there, and no row is lost."""

import json
from pathlib import Path

import pytest

from benchmarks.nights import main, measure


def test_nights_are_lived_through_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rows", "2000", "--nights", "2", "--queries", "5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["faults"] == []
    assert found["ratios"]["fragments"] == 1.0
    assert len(found["upkeep_seconds"]) == 2
    assert min(found["recall"], found["recall_anew"]) >= 0.95
    assert found["p50_ms"] > 0 < found["p50_anew_ms"]


@pytest.mark.slow
def test_a_table_of_many_fragments_stays_near_one_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four nights of 5 %: the index comes to more segments than are left, and deleted rows to over a tenth."""
    monkeypatch.setattr("benchmarks.nights.A_FRAGMENT", 50)
    found = measure(tmp_path, rows=2000, nights=4, share=0.05, queries=5, rows_per_fragment=200)
    assert found.faults == ()
    assert found.fragments_anew in (9, 10)
    assert found.fragments_ratio <= 1.2
