"""All vectors of a table read once: is each there, finite, and as long as its space says?"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import REGIONS
from pipelines.audit.faults import Fault, FaultKind, about_rows
from pipelines.audit.scan import BrokenFragments
from pipelines.table.layout import layout_of

NORM_TOLERANCE = 0.01
"""How far from 1 the length of a normalised vector may be: float16 rounds that of 1,280 numbers by less than 0.001."""
_BATCH_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class AuditedColumn:
    """What is asked of the vectors of a column."""

    name: str
    unit: bool
    """Whether they are of length 1."""
    may_lack: bool
    """Whether a row may have none: a derived column where nothing came of it, a column that a swap fills."""


@dataclass
class ColumnFaults:
    """What one column holds. Keys are `shard << 32 | row`."""

    column: str
    rows: int = 0
    lacking: int = 0
    """Rows without a vector that may be without."""
    keys: dict[FaultKind, list[np.ndarray]] = field(default_factory=dict)

    def note(self, kind: FaultKind, keys: np.ndarray) -> None:
        if len(keys):
            self.keys.setdefault(kind, []).append(keys)

    def of(self, kind: FaultKind) -> np.ndarray:
        """Sorted keys of the rows with this fault; of an image with several such regions once each."""
        return np.unique(np.concatenate([np.zeros(0, np.int64), *self.keys.get(kind, ())]))

    def faults(self) -> list[Fault]:
        said: dict[FaultKind, str] = {
            "no_vector": "rows have no vector",
            "bad_vector": "rows have a vector with a NaN or an infinity in it, or one of zeros",
            "off_norm": f"rows have a vector whose length is further than {NORM_TOLERANCE:g} from 1",
        }
        return [fault for kind, what in said.items() for fault in about_rows(kind, self.column, self.of(kind), what)]


def audit_vectors(
    dataset: Any,
    columns: Iterable[AuditedColumn],
    broken: BrokenFragments,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> list[ColumnFaults]:
    """Read the columns through, a fragment at a time. Holds one batch, and the keys of rows with a fault."""
    wanted = {each.name: each for each in columns}
    found = {name: ColumnFaults(name) for name in wanted}
    counted = [REGIONS.name] if layout_of(dataset.schema) == "multivector" else []
    rows = 0
    for batch in broken.read(dataset, ["shard", "row", *counted, *wanted], batch_size=_BATCH_ROWS):
        shards, numbers = (pc.fill_null(batch[name], -1).to_numpy(zero_copy_only=False) for name in ("shard", "row"))
        keys = (shards.astype(np.int64) << 32) | (numbers.astype(np.int64) & 0xFFFFFFFF)
        regions = _lengths(batch[REGIONS.name]) if counted else None
        for name, column in wanted.items():
            _look(batch[name], keys, regions, column, found[name])
        rows += batch.num_rows
        on_rows(rows)
    return list(found.values())


def _look(
    vectors: pa.Array, keys: np.ndarray, regions: np.ndarray | None, asked: AuditedColumn, found: ColumnFaults
) -> None:
    several = not pa.types.is_fixed_size_list(vectors.type)
    valid = vectors.is_valid().to_numpy(zero_copy_only=False)
    counts = _lengths(vectors) if several else valid.astype(np.int64)
    lacking = counts == 0
    if several and regions is not None:
        # A list that is not as long as that of the regions has lost some, or has others' vectors.
        lacking |= valid & (counts != regions)
    found.rows += len(keys)
    if asked.may_lack:
        found.lacking += int(lacking.sum())
    else:
        found.note("no_vector", keys[lacking])
    flat = vectors.drop_null().flatten() if several else vectors.drop_null()
    if not pa.types.is_floating(flat.type.value_type) or not len(flat):
        return
    values = flat.flatten().to_numpy(zero_copy_only=False).reshape(len(flat), flat.type.list_size)
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.square(values, dtype=np.float64).sum(axis=1))
    owners = np.repeat(keys, counts)
    bad = ~np.isfinite(norms) | (norms == 0)
    found.note("bad_vector", owners[bad])
    if asked.unit:
        found.note("off_norm", owners[~bad & (np.abs(norms - 1) > NORM_TOLERANCE)])


def _lengths(lists: pa.Array) -> np.ndarray:
    """(N,) int64: lengths of the lists, 0 for null."""
    lengths: np.ndarray = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths
