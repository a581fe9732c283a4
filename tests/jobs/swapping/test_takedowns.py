"""`pixlake delete` while a model is swapped: the image is in no table, and no later pass brings it back."""

from pathlib import Path

import lance
import pytest

from jobs.delete import DeleteConfig
from jobs.delete import run as delete
from made.noisy_photos import SQUASHED, NoisyPhotos
from pipelines.ledger.takedowns import record_takedowns, takedown_records
from pipelines.table.table import Table


@pytest.fixture
def photos(tmp_path: Path) -> NoisyPhotos:
    return NoisyPhotos(tmp_path).made(6)


def take_down(photos: NoisyPhotos, *ids: str, **given: bool) -> None:
    delete(DeleteConfig(table=photos.table, id=ids, **given))


def side_ids(photos: NoisyPhotos) -> set[str]:
    return set(photos.vectors(table=f"{photos.table}__swap"))


def test_what_is_taken_down_leaves_the_side_table_too(photos: NoisyPhotos) -> None:
    photos.swap(SQUASHED, to="backfill")
    assert "i3" in side_ids(photos)
    take_down(photos, "i3")
    assert side_ids(photos) == {"i0", "i1", "i2", "i4", "i5"}
    report = photos.swap()
    assert report.swap.state == "flipped"
    assert report.swap.coverage == 1
    assert set(photos.vectors()) == side_ids(photos) == {"i0", "i1", "i2", "i4", "i5"}
    # Also after the flip, while the old vectors are kept.
    take_down(photos, "i4")
    assert "i4" not in side_ids(photos)
    photos.swap(action="finish", insist=True)
    assert not list((photos.folder / "lake").glob("photos__swap*"))


def test_what_a_pass_has_yet_to_embed_is_kept_out_of_it(photos: NoisyPhotos) -> None:
    (photos.folder / "2.png").rename(photos.folder / "away.png")
    assert photos.swap(SQUASHED, to="backfill").examples == {"not_found": ["i2"]}
    take_down(photos, "i2")
    (photos.folder / "away.png").rename(photos.folder / "2.png")
    assert lance.dataset(f"{photos.table}__swap__failures.lance").count_rows() == 0
    photos.embed([6, 7], name="more", model={"name": "null"})
    photos.swap(to="backfill")
    assert "i2" not in side_ids(photos)


def test_what_a_killed_delete_left_in_the_side_table_goes_with_the_next_pass(photos: NoisyPhotos) -> None:
    photos.swap(SQUASHED, to="backfill")
    record_takedowns(Table.of(photos.table), takedown_records(["i3"]))
    assert "i3" in side_ids(photos)
    photos.embed([6], name="more")
    (photos.folder / "6.png").write_bytes(b"")
    lance.dataset(f"{photos.table}.lance").update({"vector_next": "NULL"}, where="id = 'i6'")
    photos.swap(to="backfill")
    assert "i3" not in side_ids(photos)


def test_a_record_that_is_taken_back_is_so_for_the_next_pass(photos: NoisyPhotos) -> None:
    photos.swap(SQUASHED, to="backfill")
    take_down(photos, "i1")
    take_down(photos, "i1", forget=True)
    photos.embed(range(6), model={"name": "null"}, deleted="restore")
    report = photos.swap(to="backfill")
    assert report.swap.coverage == 1
    assert all(photos.vectors("vector_next").values())
    assert "i1" in photos.vectors()


def test_without_a_swap_nothing_is_made_beside_the_table(photos: NoisyPhotos) -> None:
    take_down(photos, "i1")
    assert not list((photos.folder / "lake").glob("photos__swap*"))
