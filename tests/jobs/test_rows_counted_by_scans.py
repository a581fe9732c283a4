"""Embed jobs on a table that plain lancedb and indexes have been at: every row once, whatever an index says."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lance
import lancedb
import numpy as np
import pyarrow.parquet as pq
import pytest
from lying_index import lie_about
from stable_row_ids import make_with_stable_row_ids
from vector_folders import write_folder

from jobs import embed, export, failures, index
from jobs.embed import EmbedConfig, Report
from pipelines.commits import Committer
from pipelines.table_names import TableNames

ROWS = (150, 250)
"""Of the two files of the source."""


@dataclass(frozen=True)
class Lake:
    """A folder of ready vectors, and the table that it is taken into."""

    folder: Path
    source: Path

    @property
    def table(self) -> str:
        return f"{self.folder}/lake/photos"

    @property
    def names(self) -> TableNames:
        return TableNames.from_table(self.table)

    def config(self, limit: int | None = None, **settings: Any) -> EmbedConfig:
        source = {"uri": str(self.source), "vectors": {"model": "plain"}, "id_column": "key", "limit": limit}
        local = {"executor": "local", "rows_per_fragment": 64}
        return embed.load(base={"source": source, "table": self.table, "cluster": local, **settings})

    def embed(self, limit: int | None = None, **settings: Any) -> Report:
        return embed.run(self.config(limit, **settings))

    def index(self, *scalar: str) -> None:
        asked = {"table": self.table, "scalar": scalar, "cluster": {"executor": "local"}}
        index.run(index.IndexConfig.model_validate(asked))

    def plain(self) -> Any:
        return lancedb.connect(f"{self.folder}/lake").open_table("photos")

    def positions(self) -> Counter[tuple[int, int]]:
        """Of both tables together, with how often each stands there."""
        held = Counter[tuple[int, int]]()
        for uri in (self.names.vectors, self.names.failures):
            table = lance.dataset(uri).to_table(columns=["shard", "row"])
            held.update(zip(table["shard"].to_pylist(), table["row"].to_pylist(), strict=True))
        return held


EVERY_ROW_ONCE = Counter((shard, row) for shard, rows in enumerate(ROWS) for row in range(rows))


@pytest.fixture(params=[False, True], ids=["row_addresses", "stable_row_ids"])
def lake(tmp_path: Path, request: pytest.FixtureRequest) -> Lake:
    lake = Lake(tmp_path, write_folder(tmp_path / "source", list(ROWS)))
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
    other = Lake(lake.folder, write_folder(lake.folder / "more", [150, 250, 1]))
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
    for number in range(len(ROWS)):
        path = lake.source / "img_emb" / f"img_emb_{number:04d}.npy"
        vectors = np.load(path)
        vectors[::10] = np.nan
        np.save(path, vectors)
    lake.embed()
    lie_about(lake.names.failures, ["error_class", "stage", "row"])
    found = failures.run(failures.FailuresConfig(table=lake.table, error_class="bad_vector", limit=30))
    assert (found.total, found.by_class, len(found.rows)) == (40, {"bad_vector": 40}, 30)
