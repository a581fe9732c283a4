"""Embed jobs on a table that plain lancedb and indexes have been at: every row once, whatever an index says."""

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import embed, export, failures
from made.lying_index import lie_about
from made.ready_vectors import Lake, write_source
from made.stable_row_ids import make_with_stable_row_ids
from pipelines.commits.committer import Committer

ROWS = (150, 250)
"""Of the two files of the source."""


EVERY_ROW_ONCE = Counter((shard, row) for shard, rows in enumerate(ROWS) for row in range(rows))


@pytest.fixture(params=[False, True], ids=["row_addresses", "stable_row_ids"])
def lake(tmp_path: Path, request: pytest.FixtureRequest) -> Lake:
    lake = Lake(tmp_path, write_source(tmp_path / "source", list(ROWS)))
    if request.param:
        prepared = embed.plan(lake.config()).prepared
        Committer.open(lake.names, prepared.pipeline.sink.vectors_schema, run_id="makes-the-tables")
        make_with_stable_row_ids(lake.names)
    return lake


def test_a_run_goes_on_after_plain_lancedb_has_compacted_an_indexed_table(lake: Lake) -> None:
    lake.embed(limit=200)
    lake.embed(limit=300)
    lake.index("shard", "row")
    lake.plain().optimize()
    report = lake.embed()
    assert (report.status, report.vectors, report.embedded_now) == ("complete", 400, 100)
    assert lake.positions() == EVERY_ROW_ONCE


def test_a_run_goes_on_after_plain_lancedb_has_changed_rows_of_an_indexed_table(lake: Lake) -> None:
    lake.embed(limit=200)
    lake.index("shard")
    lake.plain().update(where="row < 50", values={"format": "kitty"})
    report = lake.embed()
    assert (report.status, report.vectors, report.embedded_now) == ("complete", 400, 200)
    assert lake.positions() == EVERY_ROW_ONCE


def lie(lake: Lake) -> None:
    lie_about(lake.names.vectors, ["shard", "row", "id"])


def test_a_run_goes_on_though_an_index_has_lost_rows(lake: Lake) -> None:
    lake.embed(limit=300)
    lie(lake)
    report = lake.embed()
    assert (report.status, report.vectors, report.embedded_now) == ("complete", 400, 100)
    assert lake.positions() == EVERY_ROW_ONCE
    again = lake.embed()
    assert (again.nothing_to_do, again.vectors) == (True, 400)


def test_ids_are_skipped_though_an_index_has_lost_their_rows(lake: Lake) -> None:
    lake.embed()
    lie(lake)
    # One row more makes it another manifest, whose ids are in the table but for one.
    other = Lake(lake.folder, write_source(lake.folder / "more", [150, 250, 1]))
    report = other.embed(skip_existing=True)
    assert (report.status, report.vectors, report.skipped) == ("complete", 1, 400)


def test_rows_are_exported_though_an_index_has_lost_them(lake: Lake) -> None:
    lake.embed()
    lie(lake)
    out = lake.folder / "out"
    asked = {"table": lake.table, "out": str(out), "where": "row >= 0", "cluster": {"executor": "local"}}
    export.run(export.ExportConfig.model_validate(asked))
    assert sum(pq.read_metadata(path).num_rows for path in out.glob("*.parquet")) == 400


def test_failures_are_counted_though_an_index_has_lost_some(lake: Lake) -> None:
    failing = Lake(lake.folder, write_source(lake.folder / "failing", list(ROWS), bad=10))
    failing.embed()
    lie_about(lake.names.failures, ["error_class", "stage", "row"])
    found = failures.run(failures.FailuresConfig(table=lake.table, error_class="bad_vector", limit=30))
    assert (found.total, found.by_class, len(found.rows)) == (40, {"bad_vector": 40}, 30)
