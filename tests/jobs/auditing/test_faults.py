"""A table that plain Lance has damaged: each kind of damage is named, and what can be mended is."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import pytest
from PIL import Image

from end_to_end.command import Ended, pixlake_here
from made.damage import Damaged, vector_of
from made.photos import Photos, ids_of

COUNT = 20
MISSING = 7
DIM = 192


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """Twenty rows in fragments of five, one of them a failure."""
    photos = Photos(tmp_path_factory.mktemp("whole"))
    assert photos.embed(photos.manifest(range(COUNT), missing=[MISSING])).status == "complete"
    return photos


@pytest.fixture
def table(whole: Photos, tmp_path: Path) -> Damaged:
    """A copy of the table, of the same images."""
    shutil.copytree(f"{whole.folder}/lake", tmp_path / "lake")
    return Damaged(str(tmp_path / "lake" / "photos"))


def audit(table: Damaged, *arguments: str) -> Ended:
    return pixlake_here("audit", table.table, "--json", *arguments)


def kinds(ended: Ended) -> list[str]:
    """`kind where count` of every fault."""
    return [f"{each['kind']} {each['where']} {each['count']}" for each in ended.json["faults"]]


def mended(table: Damaged, *arguments: str) -> None:
    """A repair ends with a table as it was: every row once, with its vector."""
    before = audit(table, "--repair", *arguments)
    assert before.code == 3
    assert any(step["state"] == "planned" for step in before.json["repair"])
    versions = [lance.dataset(each).version for each in (table.vectors, table.failures)]
    assert versions == [before.json["version"], before.json["failures_version"]], "a plan has changed the table"
    ended = audit(table, "--repair", "--yes", *arguments)
    assert (ended.code, kinds(ended)) == (0, []), ended.out
    assert {step["state"] for step in ended.json["repair"]} == {"done"}
    assert sorted(table.held()) == sorted(ids_of([number for number in range(COUNT) if number != MISSING]))


def test_a_whole_table_is_clean(table: Damaged) -> None:
    ended = audit(table)
    assert (ended.code, kinds(ended)) == (0, [])
    assert ended.json["sample"] == {
        "drawn": COUNT - 1,
        "compared": COUNT - 1,
        "least_cosine": pytest.approx(1, abs=1e-3),
        "changed": 0,
        "unreachable": {},
    }
    assert "no fault" in pixlake_here("audit", table.table).out


def test_a_row_that_stands_twice_loses_its_second_copy(table: Damaged) -> None:
    first = table.held()["i3"]
    table.again("id = 'i3'", vector=vector_of(DIM, fill=DIM**-0.5))
    assert kinds(audit(table, "--sample", "0")) == ["repeated vectors 1"]
    mended(table)
    assert table.held()["i3"] == first


def test_a_failure_that_stands_twice_loses_its_second_copy(table: Damaged) -> None:
    table.append(table.rows("true", table.failures), table.failures)
    assert kinds(audit(table)) == ["repeated failures 1"]
    mended(table)
    assert lance.dataset(table.failures).count_rows() == 1


def test_an_image_with_a_vector_loses_its_failure(table: Damaged) -> None:
    table.fail("id IN ('i4', 'i5')")
    assert kinds(audit(table)) == ["in_both failures 2"]
    mended(table)
    assert lance.dataset(table.failures).count_rows() == 1


def test_a_plan_says_that_nothing_is_done_without_yes(table: Damaged) -> None:
    table.fail("id = 'i4'")
    said = "the same command with --yes; nothing is changed yet"
    assert said in pixlake_here("audit", table.table, "--sample", "0", "--repair").out
    assert said not in pixlake_here("audit", table.table, "--sample", "0", "--repair", "--yes").out


def test_rows_that_were_deleted_come_back_only_when_that_is_asked_for(table: Damaged) -> None:
    table.delete("id IN ('i2', 'i11')")
    ended = audit(table, "--repair", "--yes")
    assert kinds(ended) == [f"deleted {ended.json['manifests'][0]['source']} 2"]
    assert [step["state"] for step in ended.json["repair"]] == ["by hand"]
    assert "i2" not in table.held()
    mended(table, "--restore")


def test_rows_that_nothing_is_known_of_are_embedded_again(table: Damaged) -> None:
    """Without notes, and with the marks of the deletion gone."""
    table.delete("id IN ('i2', 'i11')")
    lance.dataset(table.vectors).optimize.compact_files(materialize_deletions_threshold=0.0)
    shutil.rmtree(f"{table.table}__runs/positions")
    ended = audit(table)
    assert kinds(ended) == [f"missing {ended.json['manifests'][0]['source']} 2"]
    mended(table)


@pytest.mark.parametrize("place", [{"shard": 99}, {"row": 1000}, {"row": 2**31 - 1}, {"shard": -1}])
def test_rows_of_no_manifest_are_named_and_stay(table: Damaged, place: dict[str, Any]) -> None:
    table.again("id = 'i3'", **place)
    ended = audit(table, "--repair", "--yes", "--sample", "0")
    assert (ended.code, kinds(ended)) == (3, ["stray vectors 1"])
    assert lance.dataset(table.vectors).count_rows() == COUNT


@pytest.mark.parametrize(
    ("vector", "kind"),
    [
        (vector_of(DIM, fill=float("nan")), "bad_vector"),
        (vector_of(DIM, fill=float("inf")), "bad_vector"),
        (vector_of(DIM, fill=0), "bad_vector"),
        (vector_of(DIM, fill=0.5), "off_norm"),
        (None, "no_vector"),
    ],
)
def test_vectors_that_no_search_ranks_rightly_are_made_again(table: Damaged, vector: Any, kind: str) -> None:
    right = table.held()["i3"]
    table.instead("id = 'i3'", vector=vector)
    assert kinds(audit(table, "--sample", "0")) == [f"{kind} vector 1"]
    assert kinds(audit(table, "--sample", "0", "--no-vectors")) == []
    mended(table)
    assert table.held()["i3"] == right


def test_a_vector_of_another_image_is_found_by_recomputing_it(table: Damaged) -> None:
    right = table.held()["i3"]
    table.instead("id = 'i3'", vector=vector_of(DIM, fill=DIM**-0.5))
    ended = audit(table)
    assert kinds(ended) == ["wrong_vector vector 1"]
    assert ended.json["faults"][0]["examples"] == ["shard 0 row 3"]
    assert ended.json["sample"]["least_cosine"] < 0.999
    mended(table)
    assert table.held()["i3"] == right


def test_a_row_with_the_id_of_another_is_found(table: Damaged) -> None:
    lance.dataset(table.vectors).update({"id": "'somebody'"}, where="id = 'i3'")
    assert kinds(audit(table)) == ["wrong_row vectors 1"]


def test_other_bytes_at_the_source_are_told_from_a_wrong_vector(whole: Photos, table: Damaged) -> None:
    place = whole.folder / "5.png"
    kept = place.read_bytes()
    try:
        Image.new("RGB", (8, 8), (250, 3, 90)).save(place)
        (whole.folder / "6.png").rename(whole.folder / "6.away")
        ended = audit(table)
    finally:
        place.write_bytes(kept)
        (whole.folder / "6.away").rename(whole.folder / "6.png")
    assert (ended.code, kinds(ended)) == (0, [])
    sample = ended.json["sample"]
    assert (sample["changed"], sample["unreachable"], sample["compared"]) == (1, {"not_found": 1}, COUNT - 3)
    assert any("i5" in note for note in ended.json["notes"])


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def scribble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-200:] = b"\xff" * 200
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (remove, ["file_missing vectors 1", "unreadable vectors 1"]),
        (cut, ["file_size vectors 1", "unreadable vectors 1"]),
        (scribble, ["unreadable vectors 1"]),
    ],
)
def test_a_data_file_that_is_gone_or_damaged_costs_its_own_rows(
    table: Damaged, harm: Callable[[Path], None], found: list[str]
) -> None:
    """Its rows are not embedded again: the file may be put back."""
    harm(table.data_files()[1])
    ended = audit(table, "--repair", "--yes", "--restore")
    assert ended.code == 3
    assert [each for each in kinds(ended) if not each.startswith("deleted")] == found
    assert [step["state"] for step in ended.json["repair"]] == ["by hand"]
    assert "put the files back" in ended.json["repair"][0]["what"]


def test_a_deletion_file_that_is_gone_is_named(table: Damaged) -> None:
    table.delete("id = 'i3'")
    [gone] = (Path(table.vectors) / "_deletions").iterdir()
    gone.unlink()
    assert "file_missing vectors 1" in kinds(audit(table))


def test_an_index_whose_files_are_gone_is_named(table: Damaged) -> None:
    lance.dataset(table.vectors).create_scalar_index("row", "BTREE")
    shutil.rmtree(Path(table.vectors) / "_indices")
    ended = audit(table, "--repair")
    assert kinds(ended) == ["file_missing vectors 1"]
    assert ended.json["repair"][0]["command"] == f"pixlake index {table.table}"


def test_a_space_that_is_not_the_one_recorded_is_named(table: Damaged) -> None:
    dataset = lance.dataset(table.vectors)
    dataset.update_field_metadata({"vector": {"pixlake.space_digest": "0" * 64}})
    assert "space vector 1" in kinds(audit(table))


def test_a_derived_value_that_is_not_what_its_vector_gives_is_named(table: Damaged) -> None:
    assert pixlake_here("reduce", table.table, "short", "--truncate", "8", "--allow-untrained-truncation").code == 0
    assert audit(table).code == 0
    table.instead("id = 'i3'", short=vector_of(8, fill=8**-0.5))
    assert kinds(audit(table)) == ["derived short 1"]


def test_images_that_were_taken_down_and_are_back_are_named(table: Damaged) -> None:
    rows = table.rows("id = 'i3'")
    assert pixlake_here("delete", table.table, "--id", "i3").code == 0
    ended = audit(table)
    assert (ended.code, ended.json["manifests"][0]["taken_down"]) == (0, 1)
    table.append(rows)
    ended = audit(table, "--repair")
    assert kinds(ended) == ["taken_down vectors 1"]
    assert pixlake_here(*ended.json["repair"][0]["command"].split()[1:]).code == 0
    assert audit(table).code == 0


def test_files_that_no_version_lists_are_swept_once_they_are_old(table: Damaged) -> None:
    data = Path(table.vectors) / "data"
    for name, age in (("old.lance", 8 * 86_400), ("young.lance", 0)):
        (data / name).write_bytes(b"orphan")
        os.utime(data / name, (time.time() - age,) * 2)
    listed = {path.name for path in table.data_files()}
    assert audit(table).json["unlisted_files"] == 2
    ended = audit(table, "--repair", "--yes")
    assert (ended.code, [step["state"] for step in ended.json["repair"]]) == (0, ["done"])
    assert {path.name for path in data.iterdir()} == listed | {"young.lance"}


def test_what_agrees_to_a_repair_without_one_is_refused(table: Damaged) -> None:
    ended = pixlake_here("audit", table.table, "--yes")
    assert ended.code == 2
    assert "--repair" in ended.err
