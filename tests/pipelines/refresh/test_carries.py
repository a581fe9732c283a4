"""What rows get that are written again, and which lost images a new key takes over."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.base.columns import DELETED_AT
from operators.compare import holds_digest
from operators.storage.stores import NO_OPTIONS
from pipelines.refresh import carries
from pipelines.refresh.carries import Takeable, fetched_values, marked, source_values, waves
from pipelines.refresh.changes.changes import STATES, Changes, changes_schema, part_path
from pipelines.refresh.delta import old_positions, write_delta

KEPT = (pa.field("label", pa.string()), pa.field("count", pa.int32()))
SCHEMA = changes_schema(KEPT)
TABLE = pa.schema([("id", pa.string()), ("uri", pa.string()), ("label", pa.string()), DELETED_AT])


def row(state: str, number: int, **values: Any) -> dict[str, Any]:
    """A row of the vector table at (7, number), in this state."""
    held = {"old.in": "vectors", "old.shard": 7, "old.row": number, "old.sha256": f"{number:064x}"}
    return {"change.state": state, "id": f"i{number}", "uri": f"/{number}.png", "label": "l", **held, **values}


def changes_of(folder: Path, *rows: dict[str, Any]) -> Changes:
    counts = dict.fromkeys(STATES, 0)
    for state in STATES:
        mine = [each for each in rows if each["change.state"] == state]
        counts[state] = len(mine)
        if mine:
            with pa.ipc.new_stream(part_path(str(folder), state), SCHEMA) as stream:
                stream.write_table(pa.Table.from_pylist(mine, schema=SCHEMA))
    return Changes(
        counts=counts,
        schema=SCHEMA,
        kept=KEPT,
        allowed_roots=("/images",),
        notices=(),
        versions={"vectors": 3, "failures": 4},
        takedowns_unfinished=False,
        live=10,
        folder=str(folder),
    )


def test_rows_of_the_source_give_what_the_table_has_columns_for_without_secrets(tmp_path: Path) -> None:
    moved = row("moved", 2, id="new", uri="https://h/2.png?X-Amz-Signature=SECRET&v=1", label="other", count=5)
    [rows] = waves(changes_of(tmp_path, moved).rows("moved"))
    assert source_values(rows, KEPT, TABLE).to_pylist() == [
        {
            "from_key": 7 << 32 | 2,
            "to_key": 7 << 32 | 2,
            "id": "new",
            "uri": "https://h/2.png?v=1",
            "label": "other",
            "deleted_at": None,
        }
    ]
    assert "deleted_at" not in source_values(rows, KEPT, TABLE.remove(3)).column_names


def test_waves_have_about_as_many_rows_as_asked_for() -> None:
    batches = [pa.record_batch({"n": list(range(start, start + 10))}) for start in range(0, 100, 10)]
    assert [wave.num_rows for wave in waves(batches, 25)] == [30, 30, 30, 10]
    assert list(waves([])) == []


def test_marks_have_a_time_and_nothing_else() -> None:
    now = datetime(2026, 11, 29, tzinfo=UTC)
    assert marked(np.array([5]), now).to_pylist() == [{"from_key": 5, "to_key": 5, "deleted_at": now}]


def test_the_first_new_key_takes_a_lost_image_over_and_each_further_one_gets_a_copy(tmp_path: Path) -> None:
    failed = row("deleted", 3, **{"old.in": "failures"})
    takeable = Takeable(changes_of(tmp_path, row("deleted", 1), row("gone", 2), failed))
    assert holds_digest(takeable.digests, bytes.fromhex(f"{1:064x}"))
    assert holds_digest(takeable.digests, bytes.fromhex(f"{2:064x}"))
    assert len(takeable.digests) == 64, "a failure has no vectors to take over"
    rows = pa.table({"sha256": [f"{1:064x}", f"{1:064x}", f"{2:064x}"]})
    source, target = takeable.take(rows, np.array([90, 91, 92]))
    old = [7 << 32 | 1, 7 << 32 | 1, 7 << 32 | 2]
    assert source.tolist() == old
    assert target.tolist() == [old[0], 91, old[2]]
    assert takeable.taken == {old[0], old[2]}
    assert takeable.taken_deleted == 1
    assert takeable.take(rows.slice(0, 1), np.array([93]))[1].tolist() == [93]


def test_of_very_many_lost_images_none_is_known_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carries, "MOST_TAKEABLE", 1)
    assert Takeable(changes_of(tmp_path, row("deleted", 1), row("deleted", 2))).digests == b""


def test_values_of_fetched_images_stand_where_they_are_told(tmp_path: Path) -> None:
    rows = pa.table({"shard": [1], "row": [2], "id": ["a"], "etag": ["e"], "sha256": ["00"]})
    values = fetched_values(rows, np.array([3]), np.array([4]), TABLE)
    assert values.to_pylist() == [
        {"id": "a", "etag": "e", "sha256": "00", "from_key": 3, "to_key": 4, "deleted_at": None}
    ]


@pytest.mark.parametrize("whatever_bytes", [False, True])
def test_a_delta_says_what_the_table_has_of_each_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whatever_bytes: bool
) -> None:
    monkeypatch.setattr("pipelines.refresh.delta.ROWS_PER_SHARD", 2)
    none = {"old.in": None, "old.shard": None, "old.row": None, "old.sha256": None}
    failed = {"old.in": "failures", "old.sha256": None}
    changes = changes_of(
        tmp_path,
        row("new", 1, **none),
        row("changed", 2, **{"change.version": "v2"}),
        row("changed", 3, **{"old.sha256": None}),
        row("retried", 4, **failed),
        row("asked", 5, **{"change.known_etag": '"e"'}),
    )
    delta = write_delta(
        changes,
        ("new", "changed", "retried", "asked"),
        source="s3://b/images",
        run_id="run",
        folder=str(tmp_path / "delta"),
        storage=NO_OPTIONS,
        whatever_bytes=whatever_bytes,
    )
    assert (delta.manifest.uri, delta.manifest.num_rows) == ("s3://b/images", 5)
    assert [shard.num_rows for shard in delta.manifest.shards] == [2, 2, 1]
    assert delta.manifest.allowed_roots == ("/images",)
    parts = sorted(os.listdir(tmp_path / "delta"))
    read = pa.concat_tables([pq.read_table(tmp_path / "delta" / part) for part in parts])
    known = ["-"] * 5 if whatever_bytes else [None, f"{2:064x}", "-", None, f"{5:064x}"]
    assert read["_pixlake_sha256"].to_pylist() == known
    assert read["_pixlake_etag"].to_pylist() == [None] * 4 + ['"e"']
    assert read["_pixlake_version"].to_pylist()[1] == "v2"
    superseded = delta.superseded(20)
    new = [20 << 32, 20 << 32 | 1, 21 << 32, 21 << 32 | 1, 22 << 32]
    old = [7 << 32 | n for n in (2, 3, 5)]
    assert superseded.vectors.one_of(np.array(new)).tolist() == [-1, old[0], old[1], -1, old[2]]
    assert superseded.failures.of(np.array(new)).tolist() == [7 << 32 | 4]
    assert delta.is_asked(20, np.array(new)).tolist() == [False] * 4 + [True]


def test_positions_of_images_without_a_row_are_none(tmp_path: Path) -> None:
    none = {"old.shard": None, "old.row": None}
    [batch] = changes_of(tmp_path, row("new", 1, **none), row("new", 2)).rows("new")
    assert old_positions(batch).tolist() == [-1, 7 << 32 | 2]
