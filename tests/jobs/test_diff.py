"""`pixlake diff`: two states of a real table, changed in between by our job and by plain lancedb."""

import csv
import json
from collections import Counter
from pathlib import Path

import lance
import lancedb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.config.load import ConfigError, load_config
from jobs.diff import DiffConfig, DiffResult, as_text, run
from jobs.embed import load
from jobs.embed import run as embed
from jobs.tag import TagConfig
from jobs.tag import run as tag
from made.table import Made, make
from operators.base.errors import UserError
from pipelines.versions.compare import ROWS

TIME = "'Timestamp(Microsecond, Some(\"UTC\"))'"
"""The type of `deleted_at` in SQL."""
COUNTS = {"added": 1, "changed": 1, "touched": 1, "moved": 2, "deleted": 2, "failed": 1, "failure_gone": 1}


def diff(table: str, before: str, after: str | None = None, **options: object) -> DiffResult:
    return run(DiffConfig(table=table, before=before, after=after, **options))  # type: ignore[arg-type]


def make_states(folder: Path) -> Made:
    """States `one` and `two`, between which each thing has happened to an image."""
    made = make(folder)
    tag(TagConfig(table=made.table, name="one"))
    connection = lancedb.connect(str(folder / "lake"))
    images = connection.open_table("colours")
    images.update(where="id = 'red'", values={"sha256": "f" * 64})
    images.update(where="id = 'green'", values={"etag": "other"})
    images.update(where="id = 'blue'", values={"uri": "/moved.png"})
    images.update(where="id = 'o''grey'", values={"id": "grey"})
    images.delete("id = 'crimson'")
    connection.open_table("colours__failures").delete("id = 'missing'")
    Image.new("RGB", (40, 30), (1, 2, 3)).save(folder / "new.png")
    manifest = folder / "more.parquet"
    ids = ["new", "absent"]
    columns = {"id": ids, "uri": [f"{i}.png" for i in ids], "length": pa.array([1, 2], pa.int32())}
    pq.write_table(pa.table(columns), manifest)
    base = {"source": {"uri": str(manifest)}, "table": made.table, "model": {"name": "null"}}
    embed(load(files=[str(made.settings)], base=base))
    images.checkout_latest()
    images.add_columns({"deleted_at": f"arrow_cast(NULL, {TIME})"})
    return made


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = make_states(tmp_path_factory.mktemp("states"))
    tag(TagConfig(table=made.table, name="two"))
    return made


def test_each_image_is_told_once_with_what_became_of_it(states: Made) -> None:
    found = diff(states.table, "one", "two")
    assert found.counts == COUNTS | {"deleted": 1}
    told = {(row["change"], row.get("old_id"), row.get("id")) for row in found.rows}
    assert told == {
        ("changed", "red", "red"),
        ("touched", "green", "green"),
        ("moved", "blue", "blue"),
        ("moved", "o'grey", "grey"),
        ("deleted", "crimson", None),
        ("added", None, "new"),
        ("failed", None, "absent"),
        ("failure_gone", "missing", None),
    }
    [moved] = [row for row in found.rows if row["change"] == "moved" and row["id"] == "blue"]
    assert (moved["old_uri"], moved["uri"]) == (str(states.folder / "blue.png"), "/moved.png")
    text = as_text(found)
    assert "one (version 6) to two" in text
    assert "1 added, 1 changed, 1 touched, 2 moved, 1 deleted, 1 failed, 1 failure gone" in text
    assert f"moved  {states.folder}/blue.png -> /moved.png" in text


def test_backwards_it_is_the_other_way_round(states: Made) -> None:
    assert diff(states.table, "two", "one").counts == COUNTS | {"deleted": 1}
    assert diff(states.table, "two", "two").counts == dict.fromkeys(COUNTS, 0)
    assert "the same images" in as_text(diff(states.table, "two"))
    assert diff(states.table, "1", "one").counts["added"] == 5, "a version's number serves as a tag does"


def test_an_image_that_is_marked_as_deleted_is_deleted(tmp_path: Path) -> None:
    made = make_states(tmp_path)
    images = lancedb.connect(str(tmp_path / "lake")).open_table("colours")
    images.update(where="id IN ('new', 'green')", values_sql={"deleted_at": f"arrow_cast(now(), {TIME})"})
    found = diff(made.table, "one")
    assert found.counts == COUNTS | {"added": 0, "touched": 0}
    assert {row["old_id"]: "deleted_at" in row for row in found.rows if row["change"] == "deleted"} == {
        "crimson": False,
        "green": True,
    }
    assert "png  marked" in as_text(found)


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_all_rows_go_to_a_file(states: Made, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"rows.{ending}"
    found = diff(states.table, "one", "two", out=str(out), limit=0)
    assert found.rows == []
    if ending == "parquet":
        table = pq.read_table(out)
        assert table.schema.equals(ROWS)
        rows = table.to_pylist()
    elif ending == "jsonl":
        rows = [json.loads(line) for line in out.read_text().splitlines()]
    else:
        rows = list(csv.DictReader(out.open()))
    assert Counter(row["change"] for row in rows) == Counter({k: v for k, v in found.counts.items() if v})
    assert f"all of them: {out}" in as_text(found)
    assert list(tmp_path.iterdir()) == [out]


def test_memory_holds_a_part_of_the_rows(states: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is the same whatever the parts are: counts, and which row is of which kind."""
    whole = diff(states.table, "one", "two")
    for limit in ("ROWS_PER_PART", "_BATCH_ROWS", "_PIECE_ROWS"):
        monkeypatch.setattr(f"pipelines.scan.spill.{limit}", 1)
    parts = diff(states.table, "one", "two")
    assert parts.counts == whole.counts
    assert sorted(map(str, parts.rows)) == sorted(map(str, whole.rows))


def test_what_is_not_there_is_said(states: Made, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no tag 'on'; the latest are one, two"):
        diff(states.table, "on")
    with pytest.raises(UserError, match=r"there is no version 99; \d+ are there, from 1 to"):
        diff(states.table, "1", "99")
    with pytest.raises(ConfigError, match=r"rows\.txt.*must end in \.parquet, \.jsonl or \.csv"):
        load_config(DiffConfig, base={"table": states.table, "before": "one", "out": "rows.txt"})


def test_a_column_that_one_state_lacks_is_not_compared(tmp_path: Path) -> None:
    """Another tool has dropped them."""
    made = make(tmp_path)
    tag(TagConfig(table=made.table, name="one"))
    lance.dataset(f"{made.table}.lance").drop_columns(["etag", "sha256"])
    assert diff(made.table, "one").counts == dict.fromkeys(COUNTS, 0)
