"""Rows of a result as a file that a person or a program takes on: Parquet, JSON Lines or CSV, or one column of text,
by its ending."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import obstore
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from obstore.exceptions import BaseError

from jobs.reports.shown_values import json_ready
from operators.base.errors import UserError
from operators.storage.redact import reason_of
from operators.storage.stores import StorageOptions, object_store
from pipelines.scan.python_rows import python_rows

ENDINGS = (".parquet", ".jsonl", ".csv")

Write = Callable[[pa.Table], None]


def check_ending(uri: str) -> str:
    """The name as it is. Raises `UserError` where no format has its ending."""
    if not uri.lower().endswith(ENDINGS):
        raise UserError(f"{uri!r}: the name of the file must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    return uri


@contextmanager
def row_file(uri: str, schema: pa.Schema, storage: StorageOptions) -> Iterator[Write]:
    """Gives a function that adds rows; when the block ends without an error, the file appears, whole. A .txt holds
    the first column, a value a line. Raises `OSError`."""
    with TemporaryDirectory(prefix="pixlake-") as folder:
        path = Path(folder, "rows")
        with ExitStack() as stack:
            yield _writer(uri.lower(), path, schema, stack)
        try:
            store, key = object_store(uri, storage)
            # In several requests where it is large; the object appears with the last one.
            obstore.put(store, key, path)
        except BaseError as error:
            raise OSError(f"{uri}: cannot write there: {reason_of(error)}") from None


def _writer(uri: str, path: Path, schema: pa.Schema, stack: ExitStack) -> Write:
    if uri.endswith(".parquet"):
        return stack.enter_context(pq.ParquetWriter(path, schema, compression="zstd")).write_table  # type: ignore[no-any-return]
    if uri.endswith(".csv"):
        return stack.enter_context(pa.csv.CSVWriter(path, schema)).write_table  # type: ignore[no-any-return]
    lines = stack.enter_context(path.open("w", encoding="utf-8"))
    if uri.endswith(".txt"):
        return lambda rows: lines.writelines(f"{text}\n" for text in rows.column(0).to_pylist())

    def write(rows: pa.Table) -> None:
        lines.writelines(json.dumps(json_ready(row), ensure_ascii=False) + "\n" for row in python_rows(rows))

    return write
