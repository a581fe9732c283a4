"""A receipt: what one write has put into storage and nobody has committed yet."""

import json
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.table.positions import unpack_runs


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Uncommitted fragments of both tables and the positions they hold. Flat, so that it travels as an Arrow row."""

    vector_fragments: str
    """JSON list of Lance `FragmentMetadata`; `[]` where the batch gave no vector."""
    failure_fragments: str
    vector_runs: bytes
    """Positions in `vector_fragments`, as `positions.pack_runs` packs them."""
    failure_runs: bytes
    skipped_runs: bytes
    kept_out_runs: bytes = b""
    """Positions of rows that are left out because their id is taken down."""
    kept_out_ids: str = "[]"
    """JSON list of their ids, in the order of their positions."""
    lasting_runs: bytes = b""
    """Those of the positions in `failure_fragments` whose failure lies in the image as it is (`LASTING`)."""
    same_runs: bytes = b""
    """Positions of rows whose vectors the table has already, by their bytes."""
    same_rows: bytes = b""
    """Those rows without what the table has already, as `rows_to_bytes` gives them."""
    not_attempted: int = 0
    """Rows left undone on purpose: a later execution, or a later run, takes them up."""
    why_not_attempted: str = ""
    """Why the first of them were."""
    failure_counts: dict[str, int] = field(default_factory=dict)
    """Rows per error class; skipped rows are not among them."""
    extra_counts: dict[str, int] = field(default_factory=dict)
    """Rows that failed for want of an optional package, by Pixlake's extra that brings it: `heif`."""
    size_bytes: int = 0
    """Image bytes fetched."""
    written_bytes: int = 0
    """Bytes of the data files."""
    requests: int = 0
    reused: int = 0
    """Rows that were given the results of another image with the same bytes."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall seconds per operator, from the `seconds_*` columns, and `write` for the write itself; under `load_<stage>`
    the sum over the rows of what each one's actor took to build the stage's operators."""

    @property
    def vector_keys(self) -> np.ndarray:
        """Sorted (N,) int64 position keys."""
        return unpack_runs(self.vector_runs)

    @property
    def failure_keys(self) -> np.ndarray:
        return unpack_runs(self.failure_runs)

    @property
    def skipped_keys(self) -> np.ndarray:
        return unpack_runs(self.skipped_runs)

    @property
    def kept_out_keys(self) -> np.ndarray:
        return unpack_runs(self.kept_out_runs)

    @property
    def lasting_keys(self) -> np.ndarray:
        return unpack_runs(self.lasting_runs)

    @property
    def same_keys(self) -> np.ndarray:
        return unpack_runs(self.same_runs)

    def to_table(self) -> pa.Table:
        """The receipt as one row of strings, binaries and integers."""
        return pa.table([[self._wire(f.name)] for f in RECEIPT_SCHEMA], schema=RECEIPT_SCHEMA)

    def _wire(self, name: str) -> Any:
        value = getattr(self, name)
        return json.dumps(value) if isinstance(value, dict) else value

    @classmethod
    def from_table(cls, table: pa.Table) -> "list[Receipt]":
        """The receipts of a table of such rows."""
        return [cls.from_row(row) for row in table.select(RECEIPT_SCHEMA.names).to_pylist()]

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Receipt":
        """The receipt of one row as a dict, as `iter_rows` gives it."""
        kept = {f.name: row[f.name] for f in fields(cls)}
        for name in ("failure_counts", "extra_counts", "seconds"):
            kept[name] = json.loads(kept[name])
        return cls(**kept)


RECEIPT_SCHEMA = pa.schema(
    [
        ("vector_fragments", pa.string()),
        ("failure_fragments", pa.string()),
        ("vector_runs", pa.binary()),
        ("failure_runs", pa.binary()),
        ("skipped_runs", pa.binary()),
        ("kept_out_runs", pa.binary()),
        ("kept_out_ids", pa.string()),
        ("lasting_runs", pa.binary()),
        ("same_runs", pa.binary()),
        ("same_rows", pa.binary()),
        ("not_attempted", pa.int64()),
        ("why_not_attempted", pa.string()),
        ("failure_counts", pa.string()),
        ("extra_counts", pa.string()),
        ("size_bytes", pa.int64()),
        ("written_bytes", pa.int64()),
        ("requests", pa.int64()),
        ("reused", pa.int64()),
        ("seconds", pa.string()),
    ]
)


def rows_to_bytes(rows: pa.Table) -> bytes:
    """Rows as an Arrow stream; nothing where there are none."""
    if not rows.num_rows:
        return b""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def rows_from_bytes(data: bytes) -> pa.Table:
    """What `rows_to_bytes` was given; at least one row must have been there."""
    return pa.ipc.open_stream(data).read_all()
