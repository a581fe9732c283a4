"""What stands under a table's name: look at it without claiming it, check it, drop it."""

import os
import shutil
import uuid
from dataclasses import dataclass

import obstore
import pyarrow as pa
from obstore.exceptions import BaseError

from operators.failures import clean_message
from operators.redact import redact
from operators.storage import NO_OPTIONS, StorageOptions, object_store
from operators.uris import split_uri
from pipelines.fenced_table import FORMAT_KEY, Term, open_dataset
from pipelines.table_errors import RefusedError
from pipelines.table_names import TableNames


@dataclass(frozen=True, kw_only=True)
class TableInfo:
    """An existing table as it stands."""

    version: int
    schema: pa.Schema
    metadata: dict[str, str]
    vectors: int
    failures: int
    made_by_pixlake: bool
    term: Term


def open_existing(names: TableNames, storage: StorageOptions = NO_OPTIONS) -> TableInfo | None:
    """Read the table's head: two small reads, no data. None where there is no table."""
    vectors = open_dataset(names.vectors, storage)
    if vectors is None:
        return None
    failures = open_dataset(names.failures, storage)
    metadata = dict(vectors.metadata)
    made = FORMAT_KEY in (vectors.schema.metadata or {})
    return TableInfo(
        version=vectors.version,
        schema=vectors.schema,
        metadata=metadata,
        vectors=vectors.count_rows(),
        failures=failures.count_rows() if failures is not None else 0,
        made_by_pixlake=made,
        term=Term.read(metadata),
    )


def check_schema(uri: str, there: pa.Schema, ours: pa.Schema) -> None:
    """Raise `RefusedError` unless rows of `ours` can be appended: a table of Pixlake's, with our columns and types.

    Columns that a user has added since are left alone; they must take nulls.
    """
    made = (there.metadata or {}).get(FORMAT_KEY)
    if made is None:
        raise RefusedError(f"{uri}: this table was not made by Pixlake; choose another name")
    if made != b"1":
        raise RefusedError(f"{uri}: written by a newer Pixlake (format {made.decode()}); update Pixlake")
    wrong = []
    for field in ours:
        index = there.get_field_index(field.name)
        if index < 0:
            wrong.append(f"{field.name}: not in the table, this run would write {field.type}")
        elif there.field(index).type != field.type:
            wrong.append(f"{field.name}: {there.field(index).type} in the table, {field.type} in this run")
    wrong += [f"{f.name}: in the table, not in this run, and not nullable" for f in there if _demanded(f, ours)]
    if wrong:
        raise RefusedError(
            f"{uri}: the columns do not fit:\n  " + "\n  ".join(wrong) + "\nUse the settings the table was made with, "
            "or write to another table"
        )


def _demanded(field: pa.Field, ours: pa.Schema) -> bool:
    return not field.nullable and field.name not in ours.names


def drop_tables(names: TableNames, storage: StorageOptions = NO_OPTIONS) -> None:
    """Remove both tables and the run files. Ask first, and only while no run writes to them.

    Each table is gone at once for readers, then its files go. The vector table goes last: while it is there, a drop
    that was cut off is seen and finished by the next one. Raises `OSError` where storage fails.
    """
    for uri in (names.runs, names.failures, names.vectors):
        if split_uri(uri)[0] == "file":
            _drop_folder(uri)
        else:
            # Without its manifests a table is no table any more; the rest is only bytes.
            _drop_prefix(f"{uri}/_versions", storage)
            _drop_prefix(uri, storage)


def _drop_folder(path: str) -> None:
    if os.path.lexists(path):
        doomed = f"{path}.dropped-{uuid.uuid4().hex}"
        os.rename(path, doomed)
        shutil.rmtree(doomed)


def _drop_prefix(uri: str, storage: StorageOptions) -> None:
    store, key = object_store(uri, storage)
    try:
        for page in obstore.list(store, prefix=key):
            if page:
                obstore.delete(store, [each["path"] for each in page])
    except BaseError as error:
        raise OSError(f"{uri}: cannot delete there: {clean_message(redact(str(error)))}") from None
