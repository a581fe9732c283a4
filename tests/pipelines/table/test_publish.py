"""Commits that are tried until they land."""

from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

from operators.storage.stores import NO_OPTIONS
from pipelines.table import publish
from pipelines.table.errors import CommitFailedError, FencedError, TableError
from pipelines.table.publish import ATTEMPTS, until_landed, update_table_metadata


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "LONGEST_PAUSE_S", 0.0)


def test_what_fails_for_a_while_is_tried_again_and_told_so() -> None:
    told: list[bool] = []

    def attempt(again: bool) -> str:
        told.append(again)
        if len(told) < 4:
            raise OSError("no route to host")
        return "landed"

    assert until_landed("t", attempt) == "landed"
    assert told == [False, True, True, True]


def test_what_fails_for_good_says_where_and_why() -> None:
    calls: list[bool] = []

    def attempt(again: bool) -> None:
        calls.append(again)
        raise OSError("no route to host")

    with pytest.raises(CommitFailedError, match=r"s3://b/t\.lance: not committed in 10 attempts: no route to host"):
        until_landed("s3://b/t.lance", attempt)
    assert len(calls) == ATTEMPTS


def test_what_no_other_attempt_mends_comes_out_at_once() -> None:
    calls: list[bool] = []

    def attempt(again: bool) -> None:
        calls.append(again)
        raise FencedError("taken over")

    with pytest.raises(FencedError):
        until_landed("t", attempt)
    assert calls == [False]


def test_a_note_whose_answer_was_lost_is_not_written_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path / "t.lance")
    lance.write_dataset(pa.table({"n": [1]}), uri)
    real, answers = lance.LanceDataset.commit, []

    def lost(*arguments: Any, **options: Any) -> Any:
        answers.append(real(*arguments, **options))
        raise OSError("connection reset")

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(lost))
    update_table_metadata(uri, {"by": "hand", "old": None}, NO_OPTIONS)
    assert len(answers) == 1
    assert lance.dataset(uri).metadata["by"] == "hand"
    with pytest.raises(TableError, match="the table is gone"):
        update_table_metadata(str(tmp_path / "none.lance"), {"by": "hand"}, NO_OPTIONS)
