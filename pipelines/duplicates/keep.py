"""Which image of a group stays: the order in which rows are preferred."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ID, REGION, REGION_ID
from operators.base.errors import UserError
from pipelines.duplicates.pairs.rows import MatchingRows
from pipelines.table.layout import layout_of

LARGEST, OLDEST = "largest", "oldest"
HIGHEST, LOWEST = "highest:", "lowest:"
_PIXELS, _BYTES, _POSITION = ("width", "height"), "size_bytes", ("shard", "row")


class KeepRule(NamedTuple):
    """What is compared, best first; nulls come last, and equal rows by their id."""

    columns: tuple[str, ...]
    """Columns that are read for it."""
    rule: str
    id: str
    """The column that names a row: `id`, or of regions `region_id`."""


def parse_keep(rule: str, schema: pa.Schema, table: str) -> KeepRule:
    """The rule of `--keep`. Raises `UserError` for one that this table cannot follow."""
    regions = layout_of(schema) == "rows"
    if rule == LARGEST and regions:
        columns: tuple[str, ...] = (REGION.name, *([_BYTES] if _BYTES in schema.names else []))
    elif rule == LARGEST:
        # Of images with as many pixels the larger file: a copy that was compressed again has lost something.
        columns = (*_PIXELS, *([_BYTES] if _BYTES in schema.names else []))
    elif rule == OLDEST:
        columns = _POSITION
    elif rule.startswith((HIGHEST, LOWEST)):
        columns = (rule.partition(":")[2],)
    else:
        raise UserError(
            f"--keep {rule!r}: is none of {LARGEST}, {OLDEST}, {HIGHEST}COLUMN and {LOWEST}COLUMN, as in "
            f"{HIGHEST}quality"
        )
    missing = [name for name in columns if name not in schema.names]
    if missing:
        raise UserError(
            f"table {table}: --keep {rule} needs the column {missing[0]!r}, which is not there; give another rule, "
            f"such as --keep {OLDEST}"
        )
    keep = KeepRule(columns, rule, REGION_ID.name if regions else ID.name)
    try:
        # Arrow sorts no rows of any type.
        nulls = {name: pa.nulls(2, schema.field(name).type) for name in columns}
        order_of(pa.table({**nulls, keep.id: ["a", "b"]}), keep)
    except pa.ArrowException:
        kind = schema.field(columns[0]).type
        raise UserError(f"table {table}: --keep {rule}: values of type {kind} have no order") from None
    return keep


def order_of(members: pa.Table, keep: KeepRule) -> np.ndarray:
    """(M,) int64: indices of rows with their ids and the rule's columns, the one to keep first in front."""
    keyed = {str(at): members[name] for at, name in enumerate(keep.columns)}
    if keep.rule == LARGEST and keep.columns[0] == REGION.name:
        keyed["0"] = _area(members[REGION.name])
    elif keep.rule == LARGEST:
        width, height, *size = (pc.cast(members[name], pa.int64()) for name in keep.columns)
        keyed = {str(at): column for at, column in enumerate((pc.multiply(width, height), *size))}
    order = "descending" if keep.rule == LARGEST or keep.rule.startswith(HIGHEST) else "ascending"
    keys = [*((name, order, "at_end") for name in keyed), ("id", "ascending", "at_end")]
    indices: np.ndarray = pc.sort_indices(pa.table({**keyed, "id": members[keep.id]}), sort_keys=keys).to_numpy()
    return indices.astype(np.int64)


def _area(regions: pa.ChunkedArray) -> pa.ChunkedArray:
    """Of each region's box, in pixels."""
    x0, y0, x1, y1 = (pc.struct_field(regions, ["box", name]) for name in ("x0", "y0", "x1", "y1"))
    return pc.multiply(pc.subtract(x1, x0), pc.subtract(y1, y0))


def read_members(rows: MatchingRows, numbers: np.ndarray, columns: tuple[str, ...]) -> pa.Table:
    """The columns of rows by their numbers (M,), ascending, with `_rowid`. Text is large, since that of 10^8 rows does
    not fit one array otherwise."""
    schema = rows.table.at(rows.version).schema
    fields = [pa.field(name, schema.field(name).type) for name in columns]
    found = [pa.schema([*fields, pa.field("_rowid", pa.uint64())]).empty_table()]
    for first, batch in rows.scan(columns, with_row_id=True):
        low, high = np.searchsorted(numbers, [first, first + batch.num_rows])
        if high > low:
            chosen = batch.take(pa.array(numbers[low:high] - first))
            found.append(pa.Table.from_batches([chosen]).select(found[0].schema.names).cast(found[0].schema))
    table = pa.concat_tables(found)
    for name in {ID.name, REGION_ID.name}.intersection(columns):
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(pa.large_string()))
    return table
