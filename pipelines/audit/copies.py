"""Rows that a repair takes out: second copies of a row, and rows that become failures."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ERROR_FIELDS, ID, POSITION_FIELDS, REGION, URI
from operators.base.errors import ErrorClass
from pipelines.scan.plain import plain_scan
from pipelines.table.layout import layout_of

_REASON = "pixlake audit found that the vector was not what it should be"


def later_copies(dataset: Any, keys: np.ndarray) -> dict[int, np.ndarray]:
    """Fragment id -> offsets of all rows at the positions `keys` (`shard << 32 | row`) but the first of each, which is
    the one that was committed first; of regions, the first of each region."""
    index = [f"{REGION.name}.index"] if layout_of(dataset.schema) == "rows" else []
    found: dict[int, list[int]] = {}
    seen: set[tuple[int, int]] = set()
    for batch in plain_scan(dataset, ["shard", "row", *index], with_row_address=True):
        here = (batch["shard"].to_numpy().astype(np.int64) << 32) | batch["row"].to_numpy().astype(np.int64)
        regions = batch.column(2).to_pylist() if index else [0] * batch.num_rows
        addresses = batch["_rowaddr"].to_numpy()
        for at in np.flatnonzero(np.isin(here, keys)).tolist():
            copy = (int(here[at]), regions[at])
            if copy in seen:
                found.setdefault(int(addresses[at]) >> 32, []).append(int(addresses[at]) & 0xFFFFFFFF)
            seen.add(copy)
    return {fragment: np.array(sorted(offsets), np.int64) for fragment, offsets in found.items()}


def failed_rows(dataset: Any, keys: np.ndarray) -> pa.Table:
    """The rows at the positions `keys` as rows that failed as `bad_vector`, one an image."""
    schema = pa.schema([*POSITION_FIELDS, ID, URI])
    parts = [schema.empty_table()]
    for batch in plain_scan(dataset, schema.names):
        here = (batch["shard"].to_numpy().astype(np.int64) << 32) | batch["row"].to_numpy().astype(np.int64)
        rows = pa.Table.from_batches([batch]).filter(pa.array(np.isin(here, keys)))
        parts.append(rows.select(schema.names).cast(schema))
    rows = pa.concat_tables(parts)
    _, first = np.unique(_keys(rows), return_index=True)
    rows = rows.take(pa.array(np.sort(first)))
    stage, kind, error, status, attempts = ERROR_FIELDS
    values = {stage: "audit", kind: str(ErrorClass.BAD_VECTOR), error: _REASON, status: None, attempts: 1}
    for field, value in values.items():
        rows = rows.append_column(field, pa.array([value] * rows.num_rows, field.type))
    return rows


def _keys(rows: pa.Table) -> np.ndarray:
    shards, numbers = (pc.cast(rows[name], pa.int64()).to_numpy() for name in ("shard", "row"))
    keys: np.ndarray = (shards << 32) | numbers
    return keys
