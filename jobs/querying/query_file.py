"""A user's own queries, read from a file: Parquet, JSON Lines or CSV."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import obstore
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
from obstore.exceptions import BaseError

from operators.base.errors import UserError, clean_message
from operators.storage.redact import reason_of, redact_uri
from operators.storage.stores import StorageOptions, object_store
from pipelines.search.example import By, Example, Query

QUERY = "query"
WEIGHT = "weight"
BY: tuple[By, ...] = get_args(By)
ENDINGS = (".parquet", ".jsonl", ".csv")


@dataclass(frozen=True, kw_only=True)
class NamedQueries:
    """Queries in the order of a file, and what the file calls them. The two are as long as each other."""

    names: list[str]
    queries: list[Query]


def read_queries(uri: str, storage: StorageOptions) -> NamedQueries:
    """The queries of a file with columns `image`, `text` or `id`, one of which each row has. Rows with the same `query`
    are one query, the sum of them by `weight`; without such a column each row is one, called by its number, from 0.
    Relative paths of images are meant from the file's folder. Raises `UserError` with the column or the row that is
    wrong."""
    where = f"queries {redact_uri(uri)}"
    rows = read_rows(uri, where, storage)
    by = [name for name in BY if name in rows.column_names]
    if not by:
        listed = ", ".join(rows.column_names)
        raise UserError(f"{where}: has the columns {listed}; it needs `image`, `text` or `id`")
    examples = _examples(where, uri, {name: texts_of(rows, name, where) for name in by})
    names, weights = _names(rows, where), _weights(rows, where)
    of_query: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        of_query.setdefault(name, []).append(at)
    for name, some in of_query.items():
        if not any(weights[at] > 0 for at in some):
            raise UserError(f"{where}: query {name!r} has no weight above 0: there is nothing that it is to be like")
    queries = [
        Query(examples=tuple(examples[at] for at in some), weights=tuple(weights[at] for at in some))
        for some in of_query.values()
    ]
    return NamedQueries(names=list(of_query), queries=queries)


def read_rows(uri: str, where: str, storage: StorageOptions, *, texts: Sequence[str] = (QUERY, *BY)) -> pa.Table:
    """The rows of the file, one at least; of a CSV, the columns `texts` are text whatever they look like. Raises
    `UserError`, which begins with `where`."""
    ending = os.path.splitext(uri)[1].lower()
    if ending not in ENDINGS:
        raise UserError(f"{where}: the name must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    try:
        store, key = object_store(os.path.expanduser(uri), storage)
        data = io.BytesIO(bytes(obstore.get(store, key).bytes()))
        rows = _parsed(data, ending, texts)
    except FileNotFoundError:
        raise UserError(f"{where}: no such file") from None
    except BaseError as error:
        raise UserError(f"{where}: cannot be read: {reason_of(error)}") from None
    except pa.ArrowException as error:
        raise UserError(f"{where}: is no {ending[1:]} file that can be read: {clean_message(str(error))}") from None
    if not rows.num_rows:
        raise UserError(f"{where}: has no rows")
    return rows


def _parsed(data: io.BytesIO, ending: str, texts: Sequence[str]) -> pa.Table:
    if ending == ".parquet":
        return pq.read_table(data)
    if ending == ".jsonl":
        return pa.json.read_json(data)
    # An id such as 007 is no number, and an empty field is nothing.
    as_text = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(texts, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    return pa.csv.read_csv(data, parse_options=pa.csv.ParseOptions(newlines_in_values=True), convert_options=as_text)


def texts_of(rows: pa.Table, name: str, where: str) -> list[str | None]:
    """The column's texts, None for each row where there is no such column. Raises `UserError` where it holds no
    text."""
    if name not in rows.column_names:
        return [None] * len(rows)
    kind = rows.schema.field(name).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise UserError(f"{where}: column {name} is {kind}; it must be text")
    found: list[str | None] = rows[name].to_pylist()
    return found


def from_folder_of(uri: str, image: str) -> str:
    """The image's path or URI, a relative one from the folder of the file `uri`."""
    if "://" in image or image.startswith(("/", "~")):
        return image
    return f"{uri.rpartition('/')[0] or '.'}/{image}"


def _examples(where: str, uri: str, columns: dict[By, list[str | None]]) -> list[Example]:
    found = []
    for at, values in enumerate(zip(*columns.values(), strict=True)):
        given = [(by, value) for by, value in zip(columns, values, strict=True) if value is not None]
        if len(given) != 1:
            has = " and ".join(by for by, _ in given) or "none"
            raise UserError(f"{where}: row {at} has {has} of {', '.join(columns)}; give one in each row")
        [(by, value)] = given
        found.append(Example(by=by, value=from_folder_of(uri, value) if by == "image" else value))
    return found


def _names(rows: pa.Table, where: str) -> Sequence[str]:
    if QUERY not in rows.column_names:
        return [str(at) for at in range(len(rows))]
    kind = rows.schema.field(QUERY).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        raise UserError(f"{where}: column {QUERY} is {kind}; it must be text or whole numbers")
    names: list[str | None] = rows[QUERY].cast(pa.string()).to_pylist()
    if None in names:
        raise UserError(f"{where}: row {names.index(None)} has no {QUERY}")
    return [name for name in names if name is not None]


def _weights(rows: pa.Table, where: str) -> Sequence[float]:
    if WEIGHT not in rows.column_names:
        return [1.0] * len(rows)
    kind = rows.schema.field(WEIGHT).type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise UserError(f"{where}: column {WEIGHT} is {kind}; it must be numbers")
    weights: list[float | None] = rows[WEIGHT].cast(pa.float64()).to_pylist()
    found = []
    for at, weight in enumerate(weights):
        if weight is None or not 0 < abs(weight) < float("inf"):
            raise UserError(f"{where}: row {at} has the {WEIGHT} {weight}; it must be a number other than 0")
        found.append(weight)
    return found
