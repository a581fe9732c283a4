"""The auditor of chaos finds what is lost, there twice, or not what it must be."""

from collections.abc import Mapping
from pathlib import Path

import lance
import pyarrow as pa
import pytest

from chaos.audit import audit_table
from end_to_end.command import embed_here
from made.solid_images import png_of
from made.sources import make_folder

ROWS = 30
Found = tuple[int, int, int]


class Kept:
    """A table of `ROWS` images, one of which is none."""

    def __init__(self, folder: Path) -> None:
        made = make_folder(folder / "images", range(ROWS))
        (folder / "images" / "00007.png").write_text("no image")
        self.wanted: dict[str, int | None] = {each.uri or "": each.number for each in made}
        self.wanted[made[7].uri or ""] = None
        self.table = f"{folder}/lake/photos"
        assert embed_here(f"{folder}/images", self.table).code == 0

    def found(self, wanted: Mapping[str, int | None] | None = None) -> Found:
        lost, twice, wrong, _ = audit_table(self.table, wanted or self.wanted, png_of, "null", 1)
        return lost, twice, wrong

    def vectors(self) -> "lance.LanceDataset":
        return lance.dataset(f"{self.table}.lance")


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_a_whole_table_is_faultless_and_a_share_of_its_vectors_is_made_anew(kept: Kept) -> None:
    assert audit_table(kept.table, kept.wanted, png_of, "null", 1) == (0, 0, 0, 1)


def test_a_lost_row_is_found(kept: Kept) -> None:
    kept.vectors().delete("`row` = 3")
    assert kept.found() == (1, 0, 0)


def test_a_row_that_is_there_twice_is_found_by_uri_and_by_position(kept: Kept) -> None:
    dataset = kept.vectors()
    lance.write_dataset(dataset.to_table(filter="`row` = 3"), dataset.uri, mode="append")
    assert kept.found() == (0, 2, 0)


def test_a_row_in_the_wrong_table_is_found(kept: Kept) -> None:
    [bad] = [uri for uri, number in kept.wanted.items() if number is None]
    assert kept.found({**kept.wanted, bad: 7}) == (0, 0, 1)
    [good, *_] = kept.wanted
    assert kept.found({**kept.wanted, good: None})[2] >= 1


def test_bytes_and_vectors_of_another_image_are_found(kept: Kept) -> None:
    dataset = kept.vectors()
    rows = dataset.to_table()
    vectors = rows["vector"].combine_chunks()
    turned = pa.concat_arrays([vectors[1:], vectors[:1]])
    at = rows.schema.get_field_index("vector")
    lance.write_dataset(rows.set_column(at, rows.schema.field(at), turned), dataset.uri, mode="overwrite")
    assert kept.found() == (0, 0, 1)
    dataset = kept.vectors()
    dataset.update({"sha256": "'00'"}, where="`row` = 4")
    assert kept.found()[2] >= 1
