"""Batches of images with regions, as the last operator gives them, and the tables of both layouts."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import lance
import numpy as np
import pyarrow as pa

from made.tables import DIM, KEPT, VECTOR, batch, sink_of
from operators.base.columns import REGIONS
from pipelines.commits.committer import Committer
from pipelines.commits.sink import Sink, vectors_schema
from pipelines.table.names import TableNames

VECTORS = VECTOR.with_type(pa.list_(VECTOR.type))
ROWS = vectors_schema([VECTORS], KEPT, "rows")
MULTIVECTOR = vectors_schema([VECTORS], KEPT, "multivector")
LAYOUTS = {"rows": ROWS, "multivector": MULTIVECTOR}


def num_regions(row: int) -> int:
    """Of the image in that row: 1 to 4."""
    return 1 + row % 4


def region_of(row: int, index: int) -> dict[str, object]:
    box = {"x0": float(index), "y0": 0.0, "x1": index + 1.0, "y1": row + 1.0}
    return {"kind": "box", "index": index, "box": box, "label": f"l{index}", "score": None}


def vector_of(shard: int, row: int, index: int) -> np.ndarray:
    """(DIM,) float16, unit length, another for every region."""
    vector = np.random.default_rng([shard, row, index]).normal(size=DIM)
    return (vector / np.linalg.norm(vector)).astype("f2")


def region_batch(shard: int, rows: Iterable[int], failed: Sequence[int] = ()) -> pa.Table:
    """Rows of one shard, as `batch` makes them, each with its regions and their vectors; null where failed."""
    rows = list(rows)
    plain = batch(shard, rows, failed=failed)
    indices = [None if r in failed else range(num_regions(r)) for r in rows]
    regions = [
        None if within is None else [region_of(r, i) for i in within] for r, within in zip(rows, indices, strict=True)
    ]
    vectors = [
        None if within is None else [vector_of(shard, r, i) for i in within]
        for r, within in zip(rows, indices, strict=True)
    ]
    plain = plain.set_column(plain.schema.get_field_index("vector"), VECTORS, pa.array(vectors, VECTORS.type))
    return plain.append_column(REGIONS, pa.array(regions, REGIONS.type))


def region_sink(names: TableNames, layout: str) -> Sink:
    return replace(sink_of(names), vectors_schema=LAYOUTS[layout])


def region_committer(names: TableNames, layout: str, run_id: str = "run") -> Committer:
    committer = Committer.open(names, LAYOUTS[layout], run_id=run_id)
    committer.load_ledger(0, 100)
    return committer


def read_regions(names: TableNames, layout: str) -> Counter[tuple[int, int, int]]:
    """(shard, row, region index) of all that a table holds, read with lance and pyarrow alone."""
    table = lance.dataset(names.vectors).to_table()
    found: Counter[tuple[int, int, int]] = Counter()
    for each in table.to_pylist():
        regions = [each["region"]] if layout == "rows" else each["regions"]
        found.update((each["shard"], each["row"], region["index"]) for region in regions)
    return found


def all_regions(shard: int, rows: Iterable[int]) -> Counter[tuple[int, int, int]]:
    return Counter((shard, row, index) for row in rows for index in range(num_regions(row)))
