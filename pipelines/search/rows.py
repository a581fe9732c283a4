"""Found rows in the form in which they are shown, and the row that an id means, with regions or without."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from operators.base.columns import ID, REGION, REGION_ID, REGIONS
from operators.base.errors import UserError
from pipelines.filter_index.trust import answered_by_index
from pipelines.ledger.absent import why_absent
from pipelines.neighbours.nearest import Nearest
from pipelines.scan.live import live_rows
from pipelines.scan.python_rows import python_rows
from pipelines.scan.sql import sql_text
from pipelines.search.column import SearchColumn
from pipelines.search.nearest import ROW_ID, take_rows
from pipelines.search.regions import best_regions
from pipelines.space.field import vector_columns
from pipelines.table.layout import FIRST_REGION, layout_of
from pipelines.table.table import Table

_SHORT_ID = re.compile(r"[0-9a-f]{8}(…|\.\.\.)?(#.*)?")
"""As results show the id that is made from a URI."""
_IDS_A_FILTER = 1000


def shown_columns(schema: pa.Schema) -> list[str]:
    """All columns but the vectors."""
    vectors = vector_columns(schema)
    return [name for name in schema.names if name not in vectors]


def found_rows(dataset: Any, found: Nearest, column: SearchColumn, query_MD: np.ndarray) -> list[dict[str, Any]]:
    """The columns of each found row; of an image with all its regions in one row only the best region, as `region`."""
    shown = shown_columns(dataset.schema)
    if layout_of(dataset.schema) != "multivector" or not len(found.row_ids):
        return python_rows(take_rows(dataset, found.row_ids, shown))
    rows = take_rows(dataset, found.row_ids, [*shown, column.name])
    best = best_regions(column, query_MD, rows)
    others = python_rows(rows.drop_columns([column.name, REGIONS.name]))
    return [with_found(row, {REGION.name: region}) for row, region in zip(others, best, strict=True)]


def with_found(row: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The columns of a row with what the search adds. A table's own column of such a name, written by another tool or
    an earlier Pixlake, becomes `column.NAME`, a name that no column can have."""
    return {f"column.{name}" if name in found else name: value for name, value in row.items()} | found


def image_ids(dataset: Any, row_ids: np.ndarray) -> Sequence[str | None]:
    """The image id of each row."""
    ids: list[str | None] = take_rows(dataset, row_ids, [ID.name])[ID.name].to_pylist()
    return ids


def rows_of_ids(
    dataset: Any, names: Sequence[str], column: str, table: Table
) -> dict[str, pa.ChunkedArray | UserError]:
    """The column's value in the row that each id means, or that there is none.

    Where each region has a row, an image's id means its region 0, or one that is left where another tool has deleted
    region 0; a `region_id` means that region.
    """
    ways = [(ID.name, "")]
    if layout_of(dataset.schema) == "rows":
        ways = [(ID.name, f" AND {FIRST_REGION}"), (REGION_ID.name, ""), *ways]
    found: dict[str, pa.ChunkedArray | UserError] = {}
    for key, more in ways:
        left = [name for name in dict.fromkeys(names) if name not in found]
        for start in range(0, len(left), _IDS_A_FILTER):
            listed = ", ".join(map(sql_text, left[start : start + _IDS_A_FILTER]))
            condition = f"`{key}` IN ({listed}){more}"
            by_index = answered_by_index(dataset, condition)
            rows = dataset.to_table(
                columns=[key, column],
                filter=condition,
                limit=1 if len(left) == 1 else None,
                use_scalar_index=by_index,
            )
            for at, name in enumerate(rows[key].to_pylist()):
                found.setdefault(name, rows[column].slice(at, 1))
    lacking = [name for name in dict.fromkeys(names) if name not in found]
    return found | no_such_rows(table, lacking)


def row_ids_of(dataset: Any, names: Sequence[str], key: str = ID.name) -> dict[str, int]:
    """Image id, or what the column `key` holds, -> Lance's id of its row, of the first where it has several; without
    those that the table lacks, and without rows that are marked as deleted."""
    found: dict[str, int] = {}
    different, live = list(dict.fromkeys(names)), live_rows(dataset.schema)
    for start in range(0, len(different), _IDS_A_FILTER):
        listed = ", ".join(map(sql_text, different[start : start + _IDS_A_FILTER]))
        condition = f"`{key}` IN ({listed})" + (f" AND {live}" if live else "")
        by_index = answered_by_index(dataset, condition)
        rows = dataset.to_table(columns=[key], filter=condition, with_row_id=True, use_scalar_index=by_index)
        for name, row in zip(rows[key].to_pylist(), rows[ROW_ID].to_pylist(), strict=True):
            found.setdefault(name, row)
    return {name: found[name] for name in different if name in found}


def no_such_rows(table: Table, names: Sequence[str]) -> dict[str, UserError]:
    """Of each id that no row has, what its user is told: whether it failed, or was taken down."""
    why = why_absent(table, names) if names else {}
    return {name: UserError(f"table {table}: no row has the id {name!r}{_more(name, why)}") for name in names}


def _more(name: str, why: Mapping[str, str]) -> str:
    if name in why:
        return f": {why[name]}"
    if _SHORT_ID.fullmatch(name):
        return "; ids are whole here: search shows the first 8 digits of a hash, and all of it with --json"
    return ""


def check_about_regions(table: str, schema: pa.Schema) -> None:
    """Raises `UserError` where one result an image is asked of a table that has one row an image anyway."""
    if layout_of(schema) is None:
        raise UserError(
            f"table {table}: has no regions, so --group means nothing there; embed into another table with `regions` "
            "to find images by their parts"
        )
