"""A plain lancedb reader that searches in a loop while a table is swapped, flipped, rolled back and finished."""

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest

from end_to_end.processes import wait_until
from made.noisy_photos import SQUASHED, NoisyPhotos


class Reader(threading.Thread):
    """Searches over and over, and says of each answer whose vectors it holds: `old`, `new`, or else a mix."""

    def __init__(self, photos: NoisyPhotos, query: Any, spaces: dict[str, dict[str, Any]]) -> None:
        super().__init__(daemon=True)
        database = lancedb.connect(f"{photos.folder}/lake", read_consistency_interval=timedelta(0))
        self.table = database.open_table("photos")
        self.query, self.spaces, self.over = query, spaces, threading.Event()
        self.seen: list[str] = []
        self.errors: list[str] = []

    def run(self) -> None:
        while not self.over.is_set():
            try:
                search = self.table.search(self.query, vector_column_name="vector").distance_type("cosine")
                rows = search.select(["id", "vector", "_distance"]).limit(100).to_list()
                of_rows = {self._of(row) for row in rows}
                self.seen.append(of_rows.pop() if len(of_rows) == 1 and len(rows) == 12 else f"{len(rows)}: {of_rows}")
            except Exception as error:
                self.errors.append(str(error))

    def _of(self, row: dict[str, Any]) -> str:
        """The space whose vector of the image this is, at the distance that it has there."""
        given = np.asarray(row["vector"], np.float64)
        names = [name for name, held in self.spaces.items() if (np.asarray(held[row["id"]]) == given).all()]
        cosine = given @ self.query / np.linalg.norm(given) / np.linalg.norm(self.query)
        return names[0] if names and abs(row["_distance"] - (1 - cosine)) < 1e-3 else "neither"


@pytest.mark.timeout(300)
def test_a_reader_sees_one_space_at_a_time_and_never_an_error(tmp_path: Path) -> None:
    photos = NoisyPhotos(tmp_path).made(12)
    spaces = {"old": photos.vectors(), "new": photos.alone(range(12), SQUASHED)}
    reader = Reader(photos, np.asarray(spaces["old"]["i3"], np.float32), spaces)
    reader.start()
    photos.swap(SQUASHED, to="gate")
    assert set(reader.seen) == {"old"}
    photos.swap()
    photos.swap(action="rollback")
    photos.swap()
    photos.swap(action="finish", insist=True)
    count = len(reader.seen)
    wait_until(lambda: len(reader.seen) > count + 2 or reader.errors)
    reader.over.set()
    reader.join()
    assert not reader.errors, reader.errors[:3]
    assert set(reader.seen) == {"old", "new"}
    changes = [one for one, other in zip(reader.seen, [*reader.seen[1:], ""], strict=True) if one != other]
    # Each change of names is seen at most once: never back and forth.
    assert changes in (["old", "new", "old", "new"], ["old", "new"])


def test_without_a_name_lancedb_says_that_there_are_two_until_the_swap_is_finished(tmp_path: Path) -> None:
    photos = NoisyPhotos(tmp_path).made(5)
    query = np.asarray(photos.vectors()["i3"], np.float32)

    def asked() -> Any:
        return lancedb.connect(f"{tmp_path}/lake").open_table("photos").search(query).limit(1).to_list()

    assert asked()
    photos.swap(SQUASHED)
    with pytest.raises(ValueError, match=r"more than one vector column.*vector_before"):
        asked()
    photos.swap(action="finish", insist=True)
    assert asked()


def test_a_reader_of_a_tag_stays_in_the_old_space(tmp_path: Path) -> None:
    photos = NoisyPhotos(tmp_path).made(5)
    old = photos.vectors()
    photos.dataset.tags.create("before", photos.dataset.version)
    photos.swap(SQUASHED)
    photos.swap(action="finish", insist=True)
    table = lancedb.connect(f"{tmp_path}/lake").open_table("photos")
    table.checkout("before")
    rows = table.search(np.asarray(old["i3"], np.float32)).limit(5).to_list()
    assert {row["id"]: row["vector"] for row in rows} == old
