"""Thirty nights of 1 % change, each with its upkeep, beside a table of the same rows made anew: fragments, and a query.

`python -m benchmarks.nights --rows 100000`; `--rows-per-fragment 5000` makes it what a table of many fragments is.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import lance
import numpy as np
import pyarrow as pa
from lance.fragment import write_fragments

from benchmarks.machine import machine
from benchmarks.turns import in_turn
from jobs.index import IndexConfig
from jobs.index import run as index
from jobs.upkeep import UpkeepConfig, UpkeepReport
from jobs.upkeep import run as upkeep
from operators.base.arrays import vectors_from_numpy
from operators.base.columns import ETAG, ID, POSITION_FIELDS, SHA256, URI, VECTOR
from operators.models.load import describe
from operators.models.spec import parse_model_name
from operators.storage.stores import NO_OPTIONS
from pipelines.commits.sink import FAILURES_SCHEMA
from pipelines.index.records import read_index_record
from pipelines.space.field import with_space
from pipelines.table.fenced_table import FILE_FORMAT, FencedTable
from pipelines.table.positions import position_keys
from pipelines.table.table import Table
from pipelines.versions.compact import TARGET_ROWS

DIM, CLUSTERS = 256, 200
A_FRAGMENT = 1024
"""Rows of the fragments that an embed job leaves."""
CLUSTER = {"executor": "local"}


@dataclass(frozen=True, kw_only=True)
class Nights:
    """What was measured."""

    rows: int
    nights: int
    share: float
    fragments: int
    fragments_anew: int
    p50_ms: float
    p50_anew_ms: float
    recall: float
    """Index recall@10 as the last update measured it."""
    recall_anew: float
    upkeep_seconds: tuple[float, ...]
    faults: tuple[str, ...]

    @property
    def fragments_ratio(self) -> float:
        return self.fragments / self.fragments_anew

    @property
    def p50_ratio(self) -> float:
        return self.p50_ms / self.p50_anew_ms


class LivingTable:
    """A table whose rows are superseded night after night, as a refresh does it: new rows in, old ones out, in one
    commit."""

    def __init__(self, name: str, random: np.random.Generator, rows_per_fragment: int) -> None:
        self.table = Table.of(name)
        self.rows_per_fragment = rows_per_fragment
        self.keys = np.zeros(0, np.int64)
        """Positions of the rows that are there."""
        self._random = random
        self._shard = 0
        FencedTable.create_or_open(self.table.names.failures, FAILURES_SCHEMA, NO_OPTIONS)
        self._fenced, _ = FencedTable.create_or_open(self.table.uri, self._rows(1).schema, NO_OPTIONS)
        self._fenced.claim(1, "nights")

    def change(self, rows: int) -> None:
        """Put new rows in the place of as many old ones, drawn at random; at first there are none."""
        gone = self._random.choice(len(self.keys), min(rows, len(self.keys)), replace=False)
        fragments, written = [], self._rows(rows)
        for first in range(0, rows, A_FRAGMENT):
            part = written.slice(first, A_FRAGMENT)
            fragments += write_fragments(part, self.table.uri, mode="append", data_storage_version=FILE_FORMAT)
        new = position_keys(np.full(rows, self._shard), np.arange(rows))
        self._fenced.replace(self.keys[gone], fragments) if len(gone) else self._fenced.append(fragments, new)
        self.keys = np.concatenate([np.delete(self.keys, gone), new])
        self._shard += 1

    def _rows(self, rows: int) -> pa.Table:
        element = vectors_from_numpy(clustered(rows, self._random))
        field = with_space(
            pa.field(VECTOR, element.type), {"embed": {"family": "null"}}, describe(parse_model_name("null"))
        )
        names = [f"{self._shard}-{number}" for number in range(rows)]
        columns = [np.full(rows, self._shard, "i4"), np.arange(rows, dtype="i4"), names, names, names, names, element]
        return pa.table(
            [*map(pa.array, columns[:-1]), element], schema=pa.schema([*POSITION_FIELDS, ID, URI, ETAG, SHA256, field])
        )

    def copy_of(self, other: "LivingTable") -> None:
        """The rows of another table, written as an embed job writes them."""
        rows = other.table.latest().to_table()
        fragments = []
        for first in range(0, rows.num_rows, A_FRAGMENT):
            part = rows.slice(first, A_FRAGMENT)
            fragments += write_fragments(part, self.table.uri, mode="append", data_storage_version=FILE_FORMAT)
        self._fenced.append(fragments, np.zeros(1, np.int64))


def clustered(rows: int, random: np.random.Generator) -> np.ndarray:
    """(rows, DIM) float16 unit vectors about the same centres each time."""
    centers = np.random.default_rng(99).normal(size=(CLUSTERS, DIM))
    within = random.normal(size=(rows, 16)) @ np.random.default_rng(98).normal(size=(16, DIM))
    vectors = centers[random.integers(0, CLUSTERS, rows)] + 0.2 * within + 0.05 * random.normal(size=(rows, DIM))
    unit: np.ndarray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    return unit


def measure(
    folder: Path,
    *,
    rows: int,
    nights: int,
    share: float = 0.01,
    queries: int = 200,
    rows_per_fragment: int = TARGET_ROWS,
) -> Nights:
    """Live through the nights, and compare."""
    random = np.random.default_rng(0)
    lived = LivingTable(f"{folder}/lake/lived", random, rows_per_fragment)
    lived.change(rows)
    build(lived)
    seconds, faults = [], list[str]()
    for night in range(nights):
        lived.change(round(rows * share))
        started = time.perf_counter()
        faults += [f"night {night + 1}: {each}" for each in keep(lived).problems]
        seconds.append(round(time.perf_counter() - started, 2))
        print(f"night {night + 1} of {nights}: {seconds[-1]} s", file=sys.stderr)
    anew = LivingTable(f"{folder}/lake/anew", random, rows_per_fragment)
    anew.copy_of(lived)
    build(anew)
    datasets = {"lived": lived.table.latest(), "anew": anew.table.latest()}
    if datasets["lived"].count_rows() != rows or datasets["anew"].count_rows() != rows:
        faults.append("rows were lost")
    asked = clustered(queries, random).astype("f4")
    times = in_turn({name: _Asked(dataset, asked) for name, dataset in datasets.items()}, 5)
    best = {name: min(each) for name, each in times.items()}
    records = {name: read_index_record(dataset, VECTOR) for name, dataset in datasets.items()}
    return Nights(
        rows=rows,
        nights=nights,
        share=share,
        fragments=len(datasets["lived"].get_fragments()),
        fragments_anew=len(datasets["anew"].get_fragments()),
        p50_ms=round(best["lived"], 3),
        p50_anew_ms=round(best["anew"], 3),
        recall=records["lived"].recall if records["lived"] else 0.0,
        recall_anew=records["anew"].recall if records["anew"] else 0.0,
        upkeep_seconds=tuple(seconds),
        faults=tuple(faults),
    )


def build(lived: LivingTable) -> None:
    """What a user does with a new table: an index, and its upkeep."""
    index(IndexConfig(table=str(lived.table), type="IVF_RQ", cluster=CLUSTER, queries=50))
    keep(lived)


def keep(lived: LivingTable) -> UpkeepReport:
    return upkeep(UpkeepConfig(table=str(lived.table), cluster=CLUSTER, rows_per_fragment=lived.rows_per_fragment))


class _Asked:
    """The median milliseconds of a query, searched as the index's record says."""

    def __init__(self, dataset: "lance.LanceDataset", queries: np.ndarray) -> None:
        record = read_index_record(dataset, VECTOR)
        assert record is not None
        self.settings = {"nprobes": record.nprobes} | ({"refine_factor": record.refine} if record.refine else {})
        self.dataset, self.queries, self.metric = dataset, queries, record.metric

    def __call__(self) -> float:
        took = []
        for query in self.queries:
            nearest = {"column": VECTOR, "q": query, "k": 10, "metric": self.metric, **self.settings}
            started = time.perf_counter()
            self.dataset.to_table(columns=[ID.name, "_distance"], nearest=nearest)
            took.append(time.perf_counter() - started)
        return float(np.median(took)) * 1000


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--nights", type=int, default=30)
    parser.add_argument("--share", type=float, default=0.01, help="Of the rows, that change each night.")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument(
        "--rows-per-fragment", type=int, default=TARGET_ROWS, help="Fewer: as a larger table is, with many fragments."
    )
    with TemporaryDirectory(prefix="nights-") as folder:
        found = measure(Path(folder), **vars(parser.parse_args(arguments)))
    ratios = {"fragments": round(found.fragments_ratio, 3), "p50": round(found.p50_ratio, 3)}
    print(json.dumps({"ratios": ratios, **asdict(found), "machine": machine()}, indent=2))
    return int(bool(found.faults))


if __name__ == "__main__":
    sys.exit(main())
