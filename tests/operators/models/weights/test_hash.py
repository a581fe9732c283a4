"""The remembered sha256: right after every change that a file can have, and gone where it may not be trusted."""

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest

from operators.models.weights import hash as weights_hash
from operators.models.weights.cache import locked
from operators.models.weights.hash import sha256_of_file

SIZE = 1 << 20


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of remembered sums; a file of a megabyte, written a moment ago, counts as large and settled."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(weights_hash, "REMEMBERED_BYTES", SIZE)
    monkeypatch.setattr(weights_hash, "_SETTLED_S", -60.0)
    return tmp_path / "cache" / "pixlake" / "weights" / "hashes"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"a" * SIZE)
    return path


def true(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def forge(notes: Path) -> None:
    """Another sum in the note, so that an answer shows where it is from."""
    [note] = notes.glob("*.json")
    note.write_text(json.dumps({**json.loads(note.read_text()), "sha256": "remembered"}))


def test_an_unchanged_file_is_hashed_once_under_all_its_names(file: Path, notes: Path, tmp_path: Path) -> None:
    assert sha256_of_file(str(file)) == true(file)
    forge(notes)
    assert sha256_of_file(str(file)) == "remembered"
    # As huggingface_hub's cache has it.
    (tmp_path / "link.safetensors").symlink_to(file)
    assert sha256_of_file(str(tmp_path / "link.safetensors")) == "remembered"


def test_a_change_of_the_same_size_and_time_is_noticed(file: Path, notes: Path) -> None:
    sha256_of_file(str(file))
    forge(notes)
    before = os.stat(file)
    file.write_bytes(b"b" * SIZE)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert sha256_of_file(str(file)) == hashlib.sha256(b"b" * SIZE).hexdigest()


def test_another_file_in_its_place_is_noticed(file: Path, notes: Path, tmp_path: Path) -> None:
    sha256_of_file(str(file))
    forge(notes)
    other = tmp_path / "other"
    other.write_bytes(b"c" * SIZE)
    os.replace(other, file)
    assert sha256_of_file(str(file)) == true(file)


def test_a_file_written_a_moment_ago_is_not_remembered(
    file: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_hash, "_SETTLED_S", 2.0)
    assert sha256_of_file(str(file)) == true(file)
    assert not list(notes.glob("*.json"))


def test_pickles_and_small_files_are_hashed_each_time(tmp_path: Path, notes: Path) -> None:
    pickle, small = tmp_path / "w.pt", tmp_path / "small.safetensors"
    pickle.write_bytes(b"p" * SIZE)
    small.write_bytes(b"s" * (SIZE - 1))
    assert [sha256_of_file(str(each)) for each in (pickle, small)] == [true(pickle), true(small)]
    assert not notes.exists()


@pytest.mark.parametrize("left", ["", "[]", "{}", '{"file": 1}'])
def test_a_note_that_is_no_note_is_written_anew(file: Path, notes: Path, left: str) -> None:
    sha256_of_file(str(file))
    [note] = notes.glob("*.json")
    note.write_text(left)
    assert sha256_of_file(str(file)) == true(file)
    assert json.loads(note.read_text())["sha256"] == true(file)


def test_without_a_folder_to_remember_in_the_file_is_hashed(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blocked").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "blocked"))
    assert sha256_of_file(str(file)) == true(file)


def test_who_asks_while_another_hashes_waits_for_the_answer(file: Path, notes: Path) -> None:
    sha256_of_file(str(file))
    [note] = notes.glob("*.json")
    answers: list[str] = []
    waiting = threading.Thread(target=lambda: answers.append(sha256_of_file(str(file))))
    with locked(note.with_suffix(".lock")):
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        forge(notes)
    waiting.join(30)
    assert answers == ["remembered"]
