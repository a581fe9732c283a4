"""A main table and the side table of its backfill, by plain Lance: ids, digests, and vectors that tell both."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from operators.base.columns import DELETED_AT
from pipelines.table.table import Table

DIM = 4
NEW = pa.field("vector_next", pa.list_(pa.float16(), DIM), metadata={b"pixlake.space": b"{}"})
REGION = pa.struct([("kind", pa.string()), ("index", pa.int32())])


def table_in(folder: Path) -> Table:
    return Table.of(f"{folder}/lake/photos")


def digest(number: int, version: int = 0) -> str:
    return f"{number:032x}{version:032x}"


def vector_of(number: int, version: int = 0, region: int = 0) -> list[float]:
    """Exact in float16, another for every image, version of its bytes, and region."""
    return [float(number), float(version), float(region), 1.0]


def rows(numbers: Sequence[int], vector: str, version: int = 0, regions: int = 0) -> pa.Table:
    """Rows of images; with `regions`, so many for each."""
    within = range(regions or 1)
    every = [(number, index) for number in numbers for index in within]
    columns: dict[str, Any] = {
        "id": [f"i{number}" for number, _ in every],
        "sha256": [digest(number, version) for number, _ in every],
        vector: pa.array([vector_of(number, version, index) for number, index in every], NEW.type),
    }
    if regions:
        columns["region"] = pa.array([{"kind": "grid", "index": index} for _, index in every], REGION)
    return pa.table(columns)


def make_main(table: Table, numbers: Sequence[int], regions: int = 0, rows_per_file: int = 10) -> None:
    lance.write_dataset(
        rows(numbers, "vector", regions=regions), table.uri, max_rows_per_file=rows_per_file, data_storage_version="2.2"
    )
    lance.dataset(table.uri).add_columns(pa.schema([NEW]))


def add(table: Table, numbers: Sequence[int]) -> None:
    """More rows, without a new vector."""
    there = lance.dataset(table.uri).schema
    more = rows(numbers, "vector")
    lacking = [field for field in there if field.name not in more.column_names]
    for field in lacking:
        more = more.append_column(field.name, pa.nulls(more.num_rows, field.type))
    lance.write_dataset(more.select(there.names), table.uri, mode="append")


def make_side(table: Table, made: pa.Table, failed: dict[int, str] | None = None) -> None:
    """The side table with these rows, and failures by number."""
    side = table.uri.replace("photos.lance", "photos__swap.lance")
    lance.write_dataset(made, side, max_rows_per_file=7, data_storage_version="2.2")
    failed = failed or {}
    ids = pa.array([f"i{number}" for number in failed], pa.string())
    failures = pa.table({"id": ids, "error_class": pa.array(list(failed.values()), pa.string())})
    lance.write_dataset(failures, side.replace("__swap", "__swap__failures"), data_storage_version="2.2")


def mark_deleted(table: Table, numbers: Sequence[int]) -> None:
    dataset = lance.dataset(table.uri)
    if DELETED_AT.name not in dataset.schema.names:
        dataset.add_columns(pa.schema([DELETED_AT]))
    ids = ", ".join(f"'i{number}'" for number in numbers)
    lance.dataset(table.uri).update({DELETED_AT.name: "now()"}, where=f"id IN ({ids})")


def held(table: Table) -> dict[str, Any]:
    """Id, and number of the region where there is one, to the new vector."""
    found = lance.dataset(table.uri).to_table().to_pylist()
    names = [row["id"] + (f"#{row['region']['index']}" if "region" in row else "") for row in found]
    return dict(zip(names, [row["vector_next"] for row in found], strict=True))


def expected(numbers: Sequence[int], version: int = 0) -> dict[str, list[float]]:
    return {f"i{number}": vector_of(number, version) for number in numbers}
