"""What it costs to find that nothing has changed: a table and its source, compared in a process of its own each, with
the seconds that it takes and the most memory that it has."""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from operators.base.arrays import vector_field
from operators.models.load import describe
from operators.models.spec import parse_model_name
from operators.storage.stores import NO_OPTIONS
from pipelines.commits.committer import Committer
from pipelines.commits.registry import Registry
from pipelines.commits.sink import vectors_schema
from pipelines.manifests.files import Listing, Place, SourceFile
from pipelines.manifests.manifest import SourceConfig
from pipelines.refresh.changes.changes import Changes
from pipelines.refresh.changes.find import changes_of, find_changes
from pipelines.refresh.changes.source import SourceState
from pipelines.refresh.changes.source_rows import listed_rows
from pipelines.sources.shard_rows import uri_id
from pipelines.space.field import with_space
from pipelines.table.names import TableNames
from pipelines.table.table import Table

BUCKET = "s3://photographs"
LABEL = pa.field("label", pa.string())
SHARD_ROWS = 65_536
DIM = 8
"""Vectors are not read."""


def make(folder: Path, rows: int) -> str:
    """A table as a job leaves it, and a manifest of the same images with a column that says their version."""
    names = TableNames.from_table(f"{folder}/photos-{rows}")
    model = describe(parse_model_name("null"))
    vector = with_space(vector_field(DIM, pa.float16()), {"embed": {"family": "null", "dim": DIM}}, model)
    committer = Committer.open(names, vectors_schema([vector], [LABEL]), run_id="made")
    for source in (BUCKET, str(manifest(folder, rows))):
        # Both kinds of source find their rows.
        registry = Registry(committer)
        shards = -(-rows // SHARD_ROWS)
        entry = registry.register(digest=source, source=source, rows=rows, num_shards=shards, run_id="made")
        schema = committer.schema
        batches = (_rows(first, min(first + SHARD_ROWS, rows), entry.first_shard, schema) for first in _firsts(rows))
        reader = pa.RecordBatchReader.from_batches(schema, batches)
        lance.write_dataset(reader, names.vectors, mode="append", max_rows_per_file=2 * SHARD_ROWS)
        registry.complete(entry)
    with pq.ParquetWriter(manifest(folder, rows), pa.schema([("id", pa.string()), ("uri", pa.string()), LABEL])) as out:
        for first in _firsts(rows):
            files = list(listed(first, min(first + SHARD_ROWS, rows)))
            columns = [[uri_id(each.uri) for each in files], [each.uri for each in files], [_label(f) for f in files]]
            out.write_table(pa.table(columns, schema=out.schema))
    return f"{folder}/photos-{rows}"


def manifest(folder: Path, rows: int) -> Path:
    return folder / f"manifest-{rows}.parquet"


def listed(first: int, end: int) -> Iterator[SourceFile]:
    """Objects as a bucket lists them."""
    for number in range(first, end):
        yield SourceFile(f"{BUCKET}/2026/11/{number:012d}.jpg", 100_000, f'"{number:032x}"')


def _firsts(rows: int) -> range:
    return range(0, rows, SHARD_ROWS)


def _label(file: SourceFile) -> str:
    return f"label {file.etag[-5:-1]}"


def _rows(first: int, end: int, first_shard: int, schema: pa.Schema) -> pa.RecordBatch:
    files, count = list(listed(first, end)), end - first
    made: dict[str, Any] = {
        "id": [uri_id(file.uri) for file in files],
        "uri": [file.uri for file in files],
        "etag": [file.etag for file in files],
        "size_bytes": [file.size for file in files],
        "sha256": [f"{number:064x}" for number in range(first, end)],
        "label": [_label(file) for file in files],
        "shard": [first_shard + first // SHARD_ROWS] * count,
        "row": list(range(count)),
        "vector": list(np.full((count, DIM), 0.5, "f2")),
    }
    arrays = [pa.array(made[f.name], f.type) if f.name in made else pa.nulls(count, f.type) for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


class MadeListing(Listing):
    """A listing of made objects, with no store behind it."""

    def __init__(self, rows: int) -> None:
        super().__init__(Place("folder", BUCKET), NO_OPTIONS)
        self._rows = rows

    def entries(self) -> Iterator[SourceFile]:
        return listed(0, self._rows)


def compare_listing(table: str, rows: int) -> Changes:
    listing, config = MadeListing(rows), SourceConfig(uri=BUCKET)
    state = SourceState(
        uri=BUCKET,
        kept=(),
        version_columns=None,
        tells_content=True,
        allowed_roots=(),
        notices=(),
        rows=None,
        batches=lambda: listed_rows(listing, config, ()),
    )
    with tempfile.TemporaryDirectory() as folder:
        return changes_of(Table.of(table), state, folder)


def compare_manifest(table: str, source: str) -> Changes:
    config = SourceConfig(uri=source, id_column="id", version_columns=("label",))
    with find_changes(Table.of(table), config, NO_OPTIONS) as changes:
        return changes


def measure(table: str, rows: int, kind: str) -> dict[str, Any]:
    """Seconds and most bytes of memory, in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.refresh_diff",
        "--measure",
        kind,
        "--table",
        table,
        "--rows",
        str(rows),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measured(table: str, rows: int, kind: str) -> None:
    started, before = time.perf_counter(), _peak_mb()
    source = str(manifest(Path(table).parent, rows))
    changes = compare_listing(table, rows) if kind == "listing" else compare_manifest(table, source)
    seconds, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    if not changes.nothing or changes.counts["unchanged"] != rows:
        raise SystemExit(f"not what was made: {changes.counts}")
    figures = {"seconds": round(seconds, 2), "cpu_seconds": round(used.ru_utime + used.ru_stime, 2)}
    print(json.dumps(figures | {"peak_mb": _peak_mb(), "before_mb": before}))


def _peak_mb() -> int:
    """Most memory of this process so far; `ru_maxrss` would be that of its parent, where that had more."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) >> 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--measure", choices=["listing", "manifest"], help=argparse.SUPPRESS)
    parser.add_argument("--table", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        _measured(given.table, given.rows[0], given.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        for rows in given.rows:
            table = make(Path(folder), rows)
            for kind in ("manifest", "listing"):
                found = measure(table, rows, kind)
                print(
                    f"{rows:,} rows unchanged, {kind}: {found['seconds']:.2f} s ({found['cpu_seconds']:.1f} s of CPU), "
                    f"most memory {found['peak_mb']:,} MB, of which {found['before_mb']:,} MB are libraries",
                    flush=True,
                )


if __name__ == "__main__":
    main()
