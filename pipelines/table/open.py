"""What is stored under a table's name: opened, looked at without claiming it, checked, marked, dropped."""

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import lance
import obstore
import pyarrow as pa
from obstore.exceptions import BaseError

from operators.storage.redact import reason_of
from operators.storage.stores import StorageOptions, object_store
from operators.storage.uris import split_uri
from pipelines.space.field import vector_columns
from pipelines.table.errors import RefusedError
from pipelines.table.fenced_table import FORMAT, Term, table_format
from pipelines.table.table import Table, open_dataset


@dataclass(frozen=True, kw_only=True)
class TableInfo:
    """An existing table as it is now."""

    version: int
    schema: pa.Schema
    metadata: dict[str, str]
    failures_metadata: dict[str, str]
    vectors: int
    failures: int
    made_by_pixlake: bool
    term: Term


def open_existing(table: Table) -> TableInfo | None:
    """Read the table's head: two small reads, no data. None where there is no table."""
    vectors = open_dataset(table.uri, table.storage)
    if vectors is None:
        return None
    failures = open_dataset(table.names.failures, table.storage)
    metadata = dict(vectors.metadata)
    # Between its creation and its first claim a table has no mark yet; its vector columns tell.
    made = table_format(vectors) is not None or bool(vector_columns(vectors.schema))
    return TableInfo(
        version=vectors.version,
        schema=vectors.schema,
        metadata=metadata,
        failures_metadata=dict(failures.metadata) if failures is not None else {},
        vectors=vectors.count_rows(),
        failures=failures.count_rows() if failures is not None else 0,
        made_by_pixlake=made,
        term=Term.read(metadata),
    )


def check_format(uri: str, dataset: "lance.LanceDataset", other: "lance.LanceDataset | None", ours: pa.Schema) -> None:
    """Raise `RefusedError` unless the table is one that this Pixlake made or can write to.

    `other` is the other table of the pair: either one speaks for both, should the metadata of one be gone.
    """
    copy = read_copy_mark(dataset.metadata)
    if copy is not None and not copy.whole:
        raise RefusedError(
            f"{uri}: is an unfinished copy of {copy.table}; `pixlake rewrite` with the same two tables makes it whole"
        )
    made = table_format(dataset) or (table_format(other) if other is not None else None)
    if made is None and vector_columns(dataset.schema) and not _unclaimed(dataset, ours):
        raise RefusedError(
            f"{uri}: what Pixlake had recorded in the table's metadata is gone: another tool replaced it, or "
            "restored a version from before the first run. Restore a version that has it, or write to another table"
        )
    if made is None and not _unclaimed(dataset, ours):
        raise RefusedError(f"{uri}: this table was not made by Pixlake; choose another name")
    if made not in (None, FORMAT):
        raise RefusedError(f"{uri}: written by a newer Pixlake (format {made}); update Pixlake")


def _unclaimed(dataset: "lance.LanceDataset", ours: pa.Schema) -> bool:
    """Whether the table is as its creation left it, which a run that was killed right then had not marked yet."""
    return dataset.version == 1 and not dataset.get_fragments() and dataset.schema.equals(ours)


def drop_tables(table: Table, *, takedowns: bool = False) -> None:
    """Remove both tables and the run files. Call it only after asking the user, and while no run writes to them. The
    table of takedowns stays, unless it is asked for.

    Readers lose each table at once, then its files are deleted. The vector table goes last: while it is there, the next
    drop sees and finishes one that was cut off. Raises `OSError` where storage fails.
    """
    names, storage = table.names, table.storage
    for uri in (*((names.deleted,) if takedowns else ()), names.runs, names.failures, names.vectors):
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
        raise OSError(f"{uri}: cannot delete there: {reason_of(error)}") from None


COPY_KEY = "pixlake.copy_of"


@dataclass(frozen=True, kw_only=True)
class CopyMark:
    """The table that this one is a copy of. Until the copy is `whole`, only the command that makes it may write to
    it."""

    table: str
    """URI of the vector table that was copied."""
    version: int
    """Version of that table, in the marks of both copies."""
    whole: bool

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def read_copy_mark(metadata: Mapping[str, str]) -> CopyMark | None:
    stored = metadata.get(COPY_KEY)
    return None if stored is None else CopyMark(**json.loads(stored))
