"""`pixlake duplicates` of a made table: groups, who stays, the files, and what a kill leaves."""

import csv
import hashlib
import json
import pickle
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lance
import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from end_to_end.command import pixlake, pixlake_here
from jobs.delete import DeleteConfig
from jobs.delete import as_text as delete_text
from jobs.delete import run as delete
from jobs.duplicates import Duplicates, DuplicatesConfig, as_text, run
from made import vectors as made_vectors
from operators.base.arrays import vectors_from_numpy
from operators.base.errors import UserError
from operators.storage.stores import NO_OPTIONS, StorageOptions, filesystem
from pipelines.commits.sink import FAILURES_SCHEMA
from pipelines.table.fenced_table import FencedTable
from pipelines.table.names import TableNames
from servers.s3 import S3Server

DIM = 32
ROWS = 400
NEAR = {300: 0, 301: 0, 302: 1, 303: 2, 304: 3}
"""Row -> the row that it is nearly like, at a cosine of 0.99."""
SAME_BYTES = {310: 4, 311: 4, 312: 300}
SAME_VECTOR = {330: 6}
"""Row -> the row that it has the vector of, and not the bytes."""
WITHOUT = (320, 321)
"""A null, and a vector of zeros; they have the bytes of row 5 and of no other."""


def make(folder: Path | str, storage: StorageOptions = NO_OPTIONS) -> str:
    random = np.random.default_rng(3)
    vectors = random.normal(size=(ROWS, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for row, of in NEAR.items():
        noise = random.normal(size=DIM)
        noise -= noise @ vectors[of] * vectors[of]
        vectors[row] = 0.99 * vectors[of] + np.sqrt(1 - 0.99**2) * noise / np.linalg.norm(noise)
    for row, of in (SAME_BYTES | SAME_VECTOR).items():
        vectors[row] = vectors[of]
    vectors[WITHOUT[1]] = 0
    valid = np.arange(ROWS) != WITHOUT[0]
    rows = made_vectors.rows_of(vectors_from_numpy(vectors.astype(np.float32), valid), 0)
    digests = [hashlib.sha256(str(row).encode()).hexdigest() for row in range(ROWS)]
    for row, of in (SAME_BYTES | {WITHOUT[0]: 5}).items():
        digests[row] = digests[of]
    sides = np.full(ROWS, 100)
    # The larger copy of 0; of 2 and 303 the larger file.
    sides[301] = 200
    sizes = np.full(ROWS, 1000)
    sizes[303] = 2000
    for name, values in (("sha256", digests), ("width", sides), ("height", sides), ("size_bytes", sizes)):
        rows = rows.append_column(name, pa.array(values))
    ids = rows["id"].to_pylist()
    # One URI that stands twice.
    ids[302] = ids[1]
    rows = rows.set_column(rows.schema.get_field_index("id"), "id", pa.array(ids))
    table = f"{folder}/lake/photos"
    made_vectors.append(table, rows, storage, fragments=3)
    FencedTable.create_or_open(TableNames.from_table(table).failures, FAILURES_SCHEMA, storage)
    return table


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make(tmp_path_factory.mktemp("duplicates"))


def find(table: str, **given: Any) -> Duplicates:
    return run(DuplicatesConfig(table=table, **given))


def groups(table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = lance.dataset(f"{table}__duplicates.lance").to_table().to_pylist()
    return rows


def told(table: str) -> set[tuple[str, ...]]:
    """The ids of each group, the kept one first."""
    found: dict[int, list[str]] = {}
    for row in groups(table):
        assert row["kept"] == (row["group"] not in found)
        found.setdefault(row["group"], []).append(row["id"])
    return {tuple(each) for each in found.values()}


def test_groups_their_members_and_who_stays(table: str) -> None:
    found = find(table)
    assert told(table) == {
        ("i301", "i0", "i300", "i312"),
        ("i1", "i1"),
        ("i303", "i2"),
        ("i3", "i304"),
        ("i310", "i311", "i4"),
        ("i320", "i5"),
        ("i330", "i6"),
    }
    assert (found.groups, found.rows, found.compared, found.same_bytes, found.without_vector) == (7, 400, 395, 4, 1)
    assert (found.exact, found.near, found.drop, found.shared_ids) == (3, 7, 9, 1)
    assert found.coverage.exact
    rows = {(row["id"], row["row"]): row for row in groups(table)}
    assert (rows["i0", 0]["match"], rows["i0", 0]["kept_id"]) == ("near", "i301")
    assert rows["i0", 0]["cosine"] == pytest.approx(0.99, abs=1e-5)
    assert (rows["i311", 311]["match"], rows["i311", 311]["cosine"]) == ("exact", 1)
    assert (rows["i6", 6]["match"], rows["i6", 6]["cosine"]) == ("near", 1)
    assert (rows["i301", 301]["match"], rows["i301", 301]["drop"]) == (None, False)
    # Deleting by this id would delete the row that stays.
    assert [rows["i1", row]["drop"] for row in (1, 302)] == [False, False]
    assert {row["table_version"] for row in groups(table)} == {found.table_version}
    how = lance.dataset(f"{table}__duplicates.lance").schema.field("group").metadata[b"pixlake.duplicates"]
    assert json.loads(how)["threshold"] == 0.95
    assert lancedb.connect(str(Path(table).parent)).open_table("photos__duplicates").count_rows() == 17
    text = as_text(found)
    assert "7 groups of duplicates among 400 rows" in text
    assert "a guess for this model" in text
    assert "1 row cannot be dropped by id" in text


def test_cells_find_what_comparing_all_with_all_finds_and_measure_it(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(table, threshold=0.5, keep="oldest")
    whole = groups(table)
    monkeypatch.setattr("jobs.duplicates.EXACT_ROWS", 10)
    monkeypatch.setattr("pipelines.duplicates.pairs.find.cells_for", lambda rows: 12)
    monkeypatch.setattr("pipelines.duplicates.pairs.scatter._PART_BYTES", 0)
    monkeypatch.setattr("pipelines.duplicates.pairs.compare._GROUP_BYTES", 5000)
    # Parts of 1,024 rows at least: cut smaller here.
    monkeypatch.setattr("pipelines.duplicates.pairs.find.part_rows", lambda *_: 77)
    found = find(table, threshold=0.5, keep="oldest", probes=11)
    assert [{**row} for row in groups(table)] == whole
    assert (found.coverage.exact, found.coverage.sample_rows) == (False, 395)
    assert found.coverage.recall == 1.0
    assert found.coverage.sample_pairs > 100
    few = find(table, threshold=0.5, keep="oldest", probes=1)
    assert few.coverage.recall is not None
    assert few.coverage.recall == pytest.approx(few.pairs / found.pairs, abs=0.02)
    assert few.coverage.recall < 0.99
    assert "--probes finds more" in as_text(few)


def test_work_travels_to_workers_as_it_is(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(task: Any, work: Any) -> Any:
        return [pickle.loads(pickle.dumps(task))(pickle.loads(pickle.dumps(each))) for each in work]

    find(table)
    whole = groups(table)
    monkeypatch.setattr("jobs.duplicates.fragment_tasks", lambda *_: nullcontext(elsewhere))
    find(table)
    assert groups(table) == whole


def test_which_one_stays(table: str) -> None:
    find(table, keep="oldest")
    assert ("i0", "i300", "i301", "i312") in told(table)
    find(table, keep="highest:row", where='"row" NOT IN (302)')
    assert ("i312", "i301", "i300", "i0") in told(table) or ("i312", "i300", "i301", "i0") in told(table)
    assert len(told(table)) == 6
    find(table, keep="highest:id")
    assert ("i312", "i301", "i300", "i0") in told(table)
    with pytest.raises(UserError, match="'newest': is none of largest, oldest"):
        find(table, keep="newest")
    with pytest.raises(UserError, match="needs the column 'nosuch'"):
        find(table, keep="lowest:nosuch")
    with pytest.raises(UserError, match="have no order"):
        find(table, keep="lowest:vector")


def test_a_later_run_says_what_changed_and_takes_the_place_of_the_former(table: str) -> None:
    find(table)
    again = find(table, threshold=0.995)
    assert again.change is not None
    assert (again.change.before, again.change.new, again.change.no_longer) == (9, 0, 4)
    assert "since last 0 ids to drop are new, 4 of 9 are no longer" in as_text(again)
    assert ("i0", "i301") not in told(table)
    assert list(Path(f"{table}__runs").glob("duplicates-*")) == []


@pytest.mark.parametrize("ending", ["parquet", "csv", "txt"])
def test_the_file_of_ids_is_what_delete_takes(table: str, tmp_path: Path, ending: str) -> None:
    out = str(tmp_path / f"drop.{ending}")
    find(table, out=out)
    wanted = {"i0", "i300", "i312", "i2", "i304", "i311", "i4", "i5", "i6"}
    if ending == "parquet":
        assert pq.read_schema(out).names == ["id", "kept_id", "match", "cosine", "sha256", "kept_sha256"]
    if ending == "csv":
        rows = csv.DictReader(Path(out).read_text().splitlines())
        assert {row["id"]: row["kept_id"] for row in rows}["i2"] == "i303"
    if ending == "txt":
        assert set(Path(out).read_text().splitlines()) == wanted
    would = delete(DeleteConfig(table=table, ids=out, dry_run=True))
    assert (would.ids, would.vectors) == (len(wanted), len(wanted))


def test_ids_of_a_file_are_deleted_and_bad_files_are_said(tmp_path: Path) -> None:
    table = make(tmp_path)
    find(table, out=str(tmp_path / "drop.csv"))
    assert delete(DeleteConfig(table=table, ids=str(tmp_path / "drop.csv"), id=("i99",))).vectors == 10
    assert find(table).drop == 0
    assert told(table) == {("i1", "i1")}
    (tmp_path / "marked.txt").write_bytes(b"\xef\xbb\xbfi98\r\ni97\r\n")
    assert delete(DeleteConfig(table=table, ids=str(tmp_path / "marked.txt"))).vectors == 2, "with a byte order mark"
    for name, text, said in (
        ("empty.txt", "\n", "has no ids"),
        ("other.csv", "name\nx\n", "it needs `id`"),
        ("lacking.csv", 'id\ni96\n""\ni95\n""\n', "no id in 2 rows, first in row 1: give each row the id"),
        ("lacking.jsonl", '{"id": "i96"}\n{"id": ""}\n', "no id in 1 row, first in row 1: give each row the id"),
        ("lacking.jsonl", '{"id": null}\n{"id": "i96"}\n', "no id in 1 row, first in row 0: give each row the id"),
        ("ids.json", "", "must end in"),
        ("gone.txt", None, "no such file"),
    ):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=said):
            delete(DeleteConfig(table=table, ids=str(tmp_path / name)))


def test_an_older_file_takes_no_last_copy_and_no_changed_image(tmp_path: Path) -> None:
    table = make(tmp_path)
    out = str(tmp_path / "drop.csv")
    find(table, out=out)
    lake = lancedb.connect(str(tmp_path / "lake")).open_table("photos")
    # The one that was to stay, of i0, i300 and i312; one that was to stay, changed; one that was to go, changed.
    lake.delete("id = 'i301'")
    lake.update(where="id IN ('i303', 'i4')", values={"sha256": "other"})
    deleted = delete(DeleteConfig(table=table, ids=out))
    assert (deleted.ids, deleted.vectors, deleted.left_out) == (4, 4, 5)
    assert "5 ids of the file left out" in delete_text(deleted)
    there = set(lance.dataset(f"{table}.lance").to_table(columns=["id"])["id"].to_pylist())
    assert {"i0", "i300", "i312", "i2", "i4"} <= there
    assert not {"i304", "i311", "i5", "i6"} & there
    assert delete(DeleteConfig(table=table, ids=out, dry_run=True)).left_out == 5


def test_labelled_pairs_choose_the_threshold(table: str, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    rows = [("i0", "i300", 1), ("i2", "i303", "yes"), ("i3", "i304", "TRUE"), ("i6", "i7", 0), ("i8", "i9", "no")]
    pairs.write_text("id_1,id_2,duplicate\n" + "".join(f"{a},{b},{c}\n" for a, b, c in [*rows, ("i6", "nosuch", 1)]))
    found = find(table, calibrate=str(pairs))
    assert found.calibration is not None
    assert 0.98 < found.threshold < 0.99
    assert (found.calibration.duplicates, found.calibration.others, found.calibration.not_there) == (3, 2, 1)
    assert (found.calibration.precision, found.calibration.recall) == (1, 1)
    assert "precision 1.000 (0.439 to 1.000)" in as_text(found)
    for text, said in (
        ("id_1,id_2\na,b\n", "it needs id_1, id_2 and duplicate"),
        ("id_1,id_2,duplicate\ni0,i1,maybe\n", "row 0 has duplicate 'maybe'"),
        ("id_1,id_2,duplicate\ni0,i0,1\n", "two different ids"),
        ("id_1,id_2,duplicate\ni0,i300,1\n", "pairs of both kinds are needed"),
    ):
        pairs.write_text(text)
        with pytest.raises(UserError, match=said):
            find(table, calibrate=str(pairs))


def test_a_chain_is_offered_and_its_cosines_are_those_to_the_kept_one(tmp_path: Path) -> None:
    angles = np.arange(6) * 0.25
    vectors = np.stack([np.cos(angles), np.sin(angles), *np.zeros((2, 6))], axis=1).astype(np.float32)
    table = made_vectors.make(str(tmp_path / "lake" / "arc"), vectors)
    find(table, keep="oldest", linkage="chain", threshold=0.96)
    assert told(table) == {tuple(f"i{row}" for row in range(6))}
    assert [row["cosine"] for row in groups(table)] == pytest.approx(np.cos(angles).tolist(), abs=1e-6)
    find(table, keep="oldest", threshold=0.96)
    assert told(table) == {("i0", "i1"), ("i2", "i3"), ("i4", "i5")}


def test_rows_that_a_refresh_has_marked_are_left_out(tmp_path: Path) -> None:
    table = make(tmp_path)
    plain = lancedb.connect(str(tmp_path / "lake")).open_table("photos")
    kind = "'Timestamp(Microsecond, Some(\"UTC\"))'"
    plain.add_columns({"deleted_at": f"arrow_cast(NULL, {kind})"})
    plain.update(where="`row` IN (301, 304)", values_sql={"deleted_at": f"arrow_cast(now(), {kind})"})
    found = find(table)
    assert (found.rows, found.groups) == (398, 6)
    assert ("i0", "i300", "i312") in told(table)


def test_what_cannot_be_compared_is_refused_with_a_sentence(table: str, tmp_path: Path) -> None:
    for given, said in (
        ({"threshold": 0.9, "calibrate": "x.csv"}, "--threshold or --calibrate, not both"),
        ({"threshold": 1.5}, "less than or equal to 1"),
        ({"out": "drop.xls"}, "must end in .parquet, .csv or .txt"),
    ):
        with pytest.raises((ValueError, UserError), match=said):
            find(table, **given)
    with pytest.raises(UserError, match="no column 'nosuch'"):
        find(table, where="nosuch > 1")
    codes = made_vectors.rows_of(pa.array([[1] * 4] * 3, pa.list_(pa.uint8(), 4)), 0)
    made_vectors.append(str(tmp_path / "lake" / "codes"), codes)
    with pytest.raises(UserError, match="holds codes"):
        find(str(tmp_path / "lake" / "codes"))


def test_an_empty_table_and_one_without_duplicates_give_an_empty_table(tmp_path: Path) -> None:
    table = made_vectors.make(str(tmp_path / "lake" / "few"), np.eye(5, dtype=np.float32))
    with pytest.raises(UserError, match=r"needs the column 'width'.* --keep oldest"):
        find(table)
    found = find(table, keep="oldest", out=str(tmp_path / "drop.txt"))
    assert (found.groups, found.drop, groups(table)) == (0, 0, [])
    assert (tmp_path / "drop.txt").read_text() == ""
    assert find(table, keep="oldest", where="`row` > 99").rows == 0


@pytest.mark.s3
def test_table_work_and_file_lie_in_a_bucket(s3: S3Server) -> None:
    storage = StorageOptions(**s3.storage_options)
    folder = f"s3://{s3.bucket('copies')}"
    table = make(folder, storage)
    given = {"storage": storage, "out": f"{folder}/drop.csv"}
    assert find(table, **given).drop == 9
    again = find(table, threshold=0.995, **given)
    assert again.change is not None
    assert again.change.no_longer == 4
    assert delete(DeleteConfig(table=table, ids=f"{folder}/drop.csv", storage=storage)).vectors == 5
    opened, path = filesystem(f"{table}__runs", storage)
    assert [each for each in opened.find(path) if "duplicates-" in each] == []


def test_a_kill_leaves_the_former_table_whole_and_the_same_command_goes_on_behind_it(table: str) -> None:
    find(table, threshold=0.995)
    former = groups(table)
    command = ("duplicates", table, "--set", "cluster.executor=local", "--json")
    done: dict[str, int] = {}
    for place, last in (
        ("begun", "centres.npy"),
        ("scattered", "counts-000000.npy"),
        ("compared", "copies-000000.npy"),
        ("written", "copies-000000.npy"),
    ):
        killed = pixlake(*command, environment={"PIXLAKE_FAILPOINTS": f"duplicates.{place}=kill"})
        assert killed.code != 0
        assert (groups(table) == former) == (place != "written")
        [work] = Path(f"{table}__runs").glob("duplicates-*")
        now = {path.name: path.stat().st_mtime_ns for path in work.iterdir()}
        assert last in now
        # What was done by the kill before is not done again.
        assert now.items() >= done.items()
        done = now
    again = pixlake_here(*command)
    assert (again.code, again.json["groups"], again.json["drop"]) == (0, 7, 9)
    assert list(Path(f"{table}__runs").glob("duplicates-*")) == []
