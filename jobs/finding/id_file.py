"""Files of ids: what `pixlake duplicates` leaves to drop, and what `pixlake delete` takes."""

import os

import obstore
import pyarrow as pa
import pyarrow.compute as pc
from obstore.exceptions import BaseError

from jobs.finding.still_alike import NEEDED, OF_REGIONS
from jobs.querying.query_file import read_rows
from jobs.reports.row_file import row_file
from operators.base.columns import ID, REGION_ID
from operators.base.counted import counted
from operators.base.errors import UserError
from operators.storage.redact import reason_of, redact_uri
from operators.storage.stores import StorageOptions, object_store

WRITTEN = (".parquet", ".csv", ".txt")
READ = (".parquet", ".csv", ".jsonl", ".txt")
_COLUMNS = ("id", "kept_id", "match", "cosine", "sha256", "kept_sha256")
_OF_REGIONS = (*_COLUMNS, "region_id", "kept_region_id")
_ROWS = 65_536


def check_ending(uri: str) -> str:
    """The name as it is. Raises `UserError` where ids are not written so."""
    if not uri.lower().endswith(WRITTEN):
        raise UserError(f"{uri!r}: the name of the file must end in {', '.join(WRITTEN[:-1])} or {WRITTEN[-1]}")
    return uri


def write_ids(uri: str, members: pa.Table, storage: StorageOptions) -> None:
    """Write one row an id: the id to drop, the one that stays, and how alike they are; as text the ids alone. Raises
    `UserError` for an id that text cannot hold, `OSError`."""
    text = uri.lower().endswith(".txt")
    columns = _OF_REGIONS if members[REGION_ID.name].null_count < members.num_rows else _COLUMNS
    rows = members.select([ID.name] if text else list(columns))
    if text and _has_line_breaks(rows):
        raise UserError(f"{uri}: an id holds a line break, and a .txt has an id a line; write .parquet or .csv")
    schema = pa.schema([(f.name, pa.string() if pa.types.is_large_string(f.type) else f.type) for f in rows.schema])
    with row_file(uri, schema, storage) as write:
        for first in range(0, rows.num_rows, _ROWS):
            write(rows.slice(first, _ROWS).cast(schema))


def read_ids(uri: str, storage: StorageOptions) -> pa.Table:
    """The ids of a file as the column `id`: of a .txt every line that is not blank. With the other columns of
    `still_alike.NEEDED`, or of `OF_REGIONS`, where the file has all of them, as `write_ids` writes it. Raises
    `UserError`, also for a row without an id: it was to name an image."""
    where = f"ids {redact_uri(uri)}"
    ending = os.path.splitext(uri)[1].lower()
    if ending not in READ:
        raise UserError(f"{where}: the name must end in {', '.join(READ[:-1])} or {READ[-1]}")
    if ending == ".txt":
        return pa.table({ID.name: _lines(uri, where, storage)})
    rows = read_rows(uri, where, storage, texts=OF_REGIONS)
    if ID.name not in rows.column_names:
        raise UserError(f"{where}: has the columns {', '.join(rows.column_names)}; it needs `{ID.name}`")
    kind = rows.schema.field(ID.name).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise UserError(f"{where}: column {ID.name} is {kind}; it must be text")
    _check_all_are_named(rows[ID.name], where)
    if REGION_ID.name in rows.column_names and not {*OF_REGIONS} <= {*rows.column_names}:
        lacking = ", ".join(sorted({*OF_REGIONS} - {*rows.column_names}))
        raise UserError(f"{where}: names regions by {REGION_ID.name}, and lacks {lacking} of what `--out` has written")
    columns = next((each for each in (OF_REGIONS, NEEDED) if {*each} <= {*rows.column_names}), (ID.name,))
    return rows.select(columns).cast(pa.schema([(name, pa.string()) for name in columns]))


def _check_all_are_named(ids: pa.ChunkedArray, where: str) -> None:
    nameless = pc.indices_nonzero(pc.equal(pc.fill_null(ids, ""), ""))
    if len(nameless):
        raise UserError(
            f"{where}: no id in {counted(len(nameless), 'row')}, first in row {nameless[0]}: give each row the id of "
            "its image, or leave the row out"
        )


def _has_line_breaks(rows: pa.Table) -> bool:
    return bool(pc.any(pc.match_substring_regex(rows[ID.name], "[\r\n]")).as_py())


def _lines(uri: str, where: str, storage: StorageOptions) -> pa.Array:
    try:
        store, key = object_store(os.path.expanduser(uri), storage)
        # Windows' editors put a byte order mark in front, which would be part of the first id.
        text = bytes(obstore.get(store, key).bytes()).decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{where}: no such file") from None
    except BaseError as error:
        raise UserError(f"{where}: cannot be read: {reason_of(error)}") from None
    except UnicodeDecodeError:
        raise UserError(f"{where}: is no text in UTF-8") from None
    ids = [line.rstrip("\r") for line in text.split("\n")]
    found = [each for each in ids if each]
    if not found:
        raise UserError(f"{where}: has no ids")
    return pa.array(found, pa.string())
