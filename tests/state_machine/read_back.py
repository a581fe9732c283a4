"""A table as it stands, read by plain pylance, without any index; and two states of it compared."""

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import lance
import pyarrow as pa

Row = Mapping[str, Any]
Position = tuple[int, int]


@dataclass(frozen=True)
class TableState:
    """One table at one version. `rows` are plain values, a vector as its bytes."""

    version: int
    rows: tuple[Row, ...]
    schema: pa.Schema
    metadata: Mapping[str, str]
    indexes: frozenset[tuple[str, str]]
    """Name and kind."""
    tags: Mapping[str, int]

    @property
    def columns(self) -> frozenset[str]:
        return frozenset(self.schema.names)

    def positions(self) -> Counter[Position]:
        return Counter(position_of(row) for row in self.rows)


def position_of(row: Row) -> Position:
    return row["shard"], row["row"]


def read_table(uri: str, known: TableState | None = None) -> TableState | None:
    """None where there is no table. Of the version that is `known` the rows are not read again."""
    try:
        dataset = lance.dataset(uri)
    except ValueError as error:
        if "not found" in str(error):
            return None
        raise
    if known is not None and known.version == dataset.version:
        rows = known.rows
    else:
        rows = tuple(plain_rows(dataset.scanner(use_scalar_index=False).to_table()))
    return TableState(
        version=dataset.version,
        rows=rows,
        schema=dataset.schema,
        metadata=dict(dataset.metadata),
        indexes=frozenset((index.name, index.index_type) for index in dataset.describe_indices()),
        tags={name: tag["version"] for name, tag in dataset.tags.list().items()},
    )


def plain_rows(table: pa.Table) -> list[Row]:
    """Rows as dictionaries, fixed-size lists as bytes."""
    columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_fixed_size_list(column.type):
            columns[name] = [None if value is None else _bytes(value, column.type) for value in column.to_pylist()]
        else:
            columns[name] = column.to_pylist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _bytes(values: list[Any], kind: pa.DataType) -> bytes:
    return pa.array(values, kind.value_type).to_numpy(zero_copy_only=False).tobytes()


def frozen(row: Row, columns: Collection[str]) -> tuple[Any, ...]:
    return tuple((name, _frozen(row[name])) for name in sorted(columns))


def _frozen(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    return json.dumps(value, default=str) if isinstance(value, list | dict) else value


def difference(before: Iterable[Row], after: Iterable[Row], columns: Collection[str]) -> tuple[list[Row], list[Row]]:
    """Rows of `before` that are there no more, and rows of `after` that were not: the columns alone are compared."""
    left = Counter(frozen(row, columns) for row in before)
    came = []
    for row in after:
        key = frozen(row, columns)
        if left[key]:
            left[key] -= 1
        else:
            came.append(row)
    return [dict(key) for key in left.elements()], came
