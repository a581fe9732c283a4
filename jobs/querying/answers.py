"""The answers to many queries, a row a result."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from operators.base.columns import ID, REGION_ID, URI
from pipelines.neighbours.nearest import Nearest
from pipelines.search.column import SearchColumn
from pipelines.search.nearest import take_rows
from pipelines.search.regions import best_region_numbers
from pipelines.table.layout import layout_of

_ROWS_AT_ONCE = 20_000

_ANSWER = [pa.field("query", pa.string()), pa.field("rank", pa.int32()), pa.field("score", pa.float32()), ID, URI]


def answer_schema(schema: pa.Schema) -> pa.Schema:
    """Columns of the answers from a table with the schema: `query`, `rank` (from 1), `score`, `id`, `uri`; and
    `region_id` where each region has a row, or `region`, the best one's number, where a row has them all."""
    more = {"rows": [REGION_ID], "multivector": [pa.field("region", pa.int32())]}
    return pa.schema([*_ANSWER, *more.get(layout_of(schema) or "", [])])


def answer_rows(
    dataset: Any, column: SearchColumn, names: Sequence[str], vectors: Sequence[np.ndarray], found: Sequence[Nearest]
) -> Iterator[pa.Table]:
    """Some queries after the other; `vectors`, (M, dim) float32 each, are the queries in the column."""
    schema = answer_schema(dataset.schema)
    start = 0
    while start < len(found):
        end, count = start, 0
        while end < len(found) and (end == start or count + len(found[end].row_ids) <= _ROWS_AT_ONCE):
            count += len(found[end].row_ids)
            end += 1
        if count:
            some = slice(start, end)
            yield _answers(dataset, schema, column, names[some], vectors[some], found[some])
        start = end


def _answers(
    dataset: Any,
    schema: pa.Schema,
    column: SearchColumn,
    names: Sequence[str],
    vectors: Sequence[np.ndarray],
    found: Sequence[Nearest],
) -> pa.Table:
    counts = [len(each.row_ids) for each in found]
    listed = layout_of(dataset.schema) == "multivector"
    stored = [name for name in schema.names if name in dataset.schema.names and name != "region"]
    rows = take_rows(
        dataset, np.concatenate([each.row_ids for each in found]), [*stored, *([column.name] if listed else [])]
    )
    columns = {
        "query": pa.array(np.repeat(np.array(names, object), counts), pa.string()),
        "rank": pa.array(np.concatenate([np.arange(1, count + 1) for count in counts]), pa.int32()),
        "score": pa.array(np.concatenate([each.scores for each in found]), pa.float32()),
        **{name: rows[name] for name in stored},
    }
    if listed:
        starts = np.cumsum([0, *counts])
        numbers = [
            best_region_numbers(column, of_query, rows[column.name].slice(at, count))
            for of_query, at, count in zip(vectors, starts, counts, strict=False)
            if count
        ]
        columns["region"] = pa.array(np.concatenate(numbers), pa.int32())
    return pa.table({name: columns[name] for name in schema.names}).cast(schema)
