"""Every command that reads a table can read an earlier state of it: `--at TAG` or `--at VERSION`."""

import re
from pathlib import Path

import lance
import lancedb
import pyarrow.parquet as pq
import pytest

from end_to_end.command import pixlake_here
from jobs.index import IndexConfig
from jobs.index import run as index
from jobs.tag import TagConfig, as_text
from jobs.tag import run as tag
from made.table import Made, make


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A table with a tag `full`, from which another tool has since taken two rows, a failure, and a column."""
    made = make(tmp_path_factory.mktemp("changed"))
    index(IndexConfig(table=made.table, type="IVF_FLAT", cluster={"executor": "local"}, num_partitions=1, queries=3))
    tag(TagConfig(table=made.table, name="full"))
    connection = lancedb.connect(str(made.folder / "lake"))
    connection.open_table("colours").delete("id IN ('red', 'blue')")
    connection.open_table("colours").drop_columns(["length"])
    connection.open_table("colours__failures").delete("id = 'missing'")
    return made


def called(*arguments: str) -> dict[str, object]:
    return pixlake_here(*arguments, "--json").json


def test_search(changed: Made) -> None:
    query = ("search", changed.table, "--image", str(changed.folder / "red.png"), "-k", "1")
    assert [row["id"] for row in called(*query)["results"]] == ["crimson"]  # type: ignore[attr-defined]
    [row] = called(*query, "--at", "full")["results"]  # type: ignore[misc]
    assert (row["id"], row["length"]) == ("red", 3), "its columns are those of then"
    assert called(*query, "--at", "full")["index"] is not None
    version = str(lance.dataset(f"{changed.table}.lance").tags.get_version("full"))
    assert called(*query, "--at", version, "--where", "length < 5") == called(
        *query, "--at", "full", "--where", "length < 5"
    )


def test_describe(changed: Made) -> None:
    now, then = called("describe", changed.table), called("describe", changed.table, "--at", "full")
    assert (now["vectors"], now["failures"], then["vectors"], then["failures"]) == (3, 1, 5, 2)
    assert "length" in then["columns"]  # type: ignore[operator]
    assert "length" not in now["columns"]  # type: ignore[operator]
    assert then["notices"] == []


def test_failures(changed: Made) -> None:
    assert called("failures", changed.table)["total"] == 1
    assert called("failures", changed.table, "--at", "full")["total"] == 2
    assert called("failures", changed.table, "--at", "full", "--contains", "missing")["total"] == 1


def test_evaluate(changed: Made) -> None:
    found = called("evaluate", changed.table, "--at", "full", "--queries", "2", "--timing-queries", "0")
    assert found["models"][0]["rows"] == 5  # type: ignore[index]


def test_export(changed: Made, tmp_path: Path) -> None:
    out = str(tmp_path / "then")
    assert called("export", changed.table, out, "--at", "full")["rows"] == 5
    assert pq.read_table(out).num_rows == 5
    assert called("export", changed.table, out, "--at", "full")["written_now"] == 0
    assert called("export", changed.table, out)["written_now"] == 0, "it goes on with the state that it began with"
    refused = pixlake_here("export", changed.table, out, "--at", "1")
    assert refused.code == 2
    assert "asked for 1 (--at 1)" in refused.err


def test_a_state_that_is_not_there(changed: Made) -> None:
    for verb in ("describe", "failures"):
        ended = pixlake_here(verb, changed.table, "--at", "nowhere")
        assert (ended.code, ended.out) == (2, "")
        assert "there is no tag 'nowhere'; the latest are full" in ended.err


def test_a_tag_says_which_number_is_a_version_of_what(changed: Made) -> None:
    [full] = [line for line in as_text(tag(TagConfig(table=changed.table))).splitlines() if line.startswith("full ")]
    assert re.match(r"full  version \d+, failures version \d+, made ", full)
