"""`python -m benchmarks.index_build`: an index on synthetic vectors, built by Ray workers while rows are appended.

200,000 clustered unit vectors of float16 stand in a table. `pixlake index` runs as a user starts it; a second process
appends rows all the while, in the form in which an embed job commits them. Afterwards nothing may be missing: every
query finds the rows that were appended, too. Then `--update`, and recall once more.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from lance.fragment import write_fragments

from operators.base.arrays import vectors_from_numpy
from operators.models.load import describe
from operators.models.spec import parse_model_name
from operators.storage.stores import NO_OPTIONS
from pipelines.space.field import with_space
from pipelines.table.fenced_table import FencedTable
from pipelines.table.names import TableNames

ROWS, DIM, WORKERS, TARGET = 200_000, 256, 2, 0.95
FRAGMENTS = 16
APPENDED_ROWS = 500
CLUSTERS, DIRECTIONS = 1_000, 24


class Synthetic:
    """Unit vectors around centres, spread in a few directions of their own and a little in all: as embeddings are."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.centres = random.normal(size=(CLUSTERS, DIM)).astype("f4")
        self.directions = random.normal(size=(DIRECTIONS, DIM)).astype("f4")

    def vectors(self, rows: int, seed: int) -> np.ndarray:
        """(rows, DIM) float16."""
        random = np.random.default_rng([1, seed])
        spread = random.normal(size=(rows, DIRECTIONS)).astype("f4") @ self.directions
        noise = random.normal(size=(rows, DIM)).astype("f4")
        vectors = self.centres[random.integers(0, CLUSTERS, rows)] + 0.12 * spread + 0.1 * noise
        unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit.astype("f2")

    def rows(self, count: int, first: int, seed: int) -> pa.Table:
        """With the columns of an embed job that an index needs."""
        numbers = np.arange(first, first + count, dtype="i4")
        vectors = vectors_from_numpy(self.vectors(count, seed))
        model = describe(parse_model_name("null"))
        field = with_space(pa.field("vector", vectors.type), {"embed": {"family": "synthetic"}}, model)
        names = [(name, kind) for name, kind in (("shard", pa.int32()), ("row", pa.int32()), ("id", pa.string()))]
        schema = pa.schema([*(pa.field(*each) for each in names), pa.field("uri", pa.string()), field])
        ids = [f"{number:09d}" for number in numbers]
        return pa.table([np.zeros(count, "i4"), numbers, ids, [f"/{each}.jpg" for each in ids], vectors], schema=schema)


def append(table: FencedTable, rows: pa.Table) -> None:
    options = {"mode": "append", "enable_stable_row_ids": True, "data_storage_version": "2.2"}
    table.append(write_fragments(rows, table.uri, **options), rows["row"].to_numpy().astype(np.int64))


def make_table(uri: str) -> None:
    made, size = Synthetic(), ROWS // FRAGMENTS
    first = made.rows(size, 0, seed=0)
    table, _ = FencedTable.create_or_open(uri, first.schema, NO_OPTIONS)
    table.claim(1, "bench")
    for at in range(FRAGMENTS):
        append(table, made.rows(size, at * size, seed=at))


def keep_appending(uri: str, stop: Any, appended: Any) -> None:
    """A commit a second, under a term that is held all the while."""
    made = Synthetic()
    table, _ = FencedTable.create_or_open(uri, made.rows(1, 0, 0).schema, NO_OPTIONS)
    table.claim(table.term.number + 1, "appender")
    while not stop.wait(1.0):
        append(table, made.rows(APPENDED_ROWS, ROWS + appended.value, seed=1_000_000 + appended.value))
        appended.value += APPENDED_ROWS


def index(table: str, *options: str) -> dict[str, Any]:
    """What `pixlake index --json` says."""
    command = [str(Path(sys.executable).with_name("python")), "-m", "jobs", "index", table, "--json", *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def recall(uri: str, nprobes: int, refine: int | None, queries: np.ndarray) -> tuple[float, float, float]:
    """Index recall@10 by Lance alone for vectors that are not in the table, and p50 and p99 of a query in ms."""
    dataset = lance.dataset(uri)
    hits, seconds = 0, []
    for query in queries:
        nearest = {"column": "vector", "q": query, "k": 10, "metric": "cosine"}
        true = dataset.to_table(columns=["id", "_distance"], nearest={**nearest, "use_index": False})["id"].to_pylist()
        settings = {"nprobes": nprobes} | ({} if refine is None else {"refine_factor": refine})
        started = time.perf_counter()
        seen = dataset.to_table(columns=["id", "_distance"], nearest={**nearest, **settings})["id"].to_pylist()
        seconds.append(time.perf_counter() - started)
        hits += len(set(true) & set(seen))
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    return hits / (10 * len(queries)), float(p50), float(p99)


def line(name: str, result: dict[str, Any], outside: tuple[float, float, float]) -> str:
    record = result["index"]
    numbers = ", ".join(f"{key} {value}" for key, value in record["parameters"].items())
    refine, size = record["refine"], f"{record['size_bytes'] / 2**20:.1f} MiB in {record['segments']} segments"
    return (
        f"{name}: {record['type']}, {numbers}; {result['seconds_in_all']:.0f} s in all, {record['seconds']:.1f} s "
        f"to train, build and measure; {size}\n"
        f"  index recall@10 {record['recall']:.4f} (rows as queries), {outside[0]:.4f} (new vectors), nprobes "
        f"{record['nprobes']}, refine {refine}\n"
        f"  a query {outside[1]:.1f} ms (p50), {outside[2]:.1f} ms (p99); {result['unindexed_rows']:,} rows not indexed"
    )


def run_index(table: str, *options: str) -> dict[str, Any]:
    started = time.monotonic()
    return index(table, *options) | {"seconds_in_all": time.monotonic() - started}


def measure(table: str, kind: str) -> dict[str, Any]:
    """Builds while rows are appended, and updates when they no longer are."""
    uri = TableNames.from_table(table).vectors
    queries = Synthetic().vectors(100, seed=77).astype("f4")
    spawn = multiprocessing.get_context("spawn")
    stop, appended = spawn.Event(), spawn.Value("q", 0)
    appender = spawn.Process(target=keep_appending, args=(uri, stop, appended))
    appender.start()
    try:
        built = run_index(table, "--type", kind, "--target-recall", str(TARGET), "--workers", str(WORKERS))
    finally:
        stop.set()
        appender.join()
    rows = lance.dataset(uri).count_rows()
    if rows < ROWS + appended.value or appended.value == 0:
        raise RuntimeError(f"{rows} rows in the table, {ROWS} + {appended.value} were written")
    figures = {"built": built, "built_outside": recall(uri, *_settings(built), queries), "appended": appended.value}
    print(f"{appended.value:,} rows appended while it was built", flush=True)
    print(line("built", built, figures["built_outside"]), flush=True)
    updated = run_index(table, "--update", "--workers", str(WORKERS))
    figures |= {"updated": updated, "updated_outside": recall(uri, *_settings(updated), queries)}
    print(line("updated", updated, figures["updated_outside"]), flush=True)
    short = [name for name in ("built", "updated") if figures[name]["index"]["recall"] < TARGET]
    if short or updated["unindexed_rows"]:
        raise RuntimeError(f"index recall@10 under {TARGET}: {short}; {updated['unindexed_rows']} rows not indexed")
    return figures


def _settings(result: dict[str, Any]) -> tuple[int, int | None]:
    return result["index"]["nprobes"], result["index"]["refine"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index_build", description=__doc__)
    parser.add_argument("--type", default="auto", help="as for `pixlake index` (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pixlake-bench-") as name:
        table = f"{name}/lake/vectors"
        make_table(TableNames.from_table(table).vectors)
        print(
            f"index of {ROWS:,} vectors, {DIM}-d float16, by {WORKERS} workers, target index recall@10 {TARGET}",
            flush=True,
        )
        figures = measure(table, given.type)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
