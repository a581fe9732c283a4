"""Rows of a Lance table read from the data itself, whatever indexes it has.

A filter that Lance answers through an index is as good as the index, and another tool may have left one that does not
hold what the rows hold: an older library that does not keep it up, an update that kept old values. So whatever decides
what is written, skipped, deleted or counted reads through here; `tests/test_architecture.py` holds that.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from operators.storage.redact import reason_of

STORAGE_FAILED = ("External error", "LanceError(IO)")
"""How the message of the `ValueError` begins with which Lance (13.0.0) ends a scan or a count where storage fails, as
if the question were wrong."""


_FILTER_FAILED = "Error applying filter expression"
FILE_GONE = "Not found: "
"""How the rest of it begins, or an `OSError` of Lance's, where a file of the table is not there."""


@contextmanager
def reading(held: Any) -> Iterator[None]:
    """Raises `OSError` where a scan of a Lance dataset or fragment ends because storage fails."""
    try:
        yield
    except ValueError as error:
        # A condition that divides by zero, or casts what is no number, comes in the words of a failed read; a count of
        # what is not there comes without them.
        if not str(error).startswith((*STORAGE_FAILED, FILE_GONE)) or _FILTER_FAILED in str(error):
            raise
        uri = getattr(held, "uri", None) or "a table"
        raise OSError(f"{uri}: {about_failed_storage(error)}") from error


def about_failed_storage(error: Exception) -> str:
    """What was wrong, and what can be done about it."""
    said = str(error)
    for beginning in STORAGE_FAILED:
        said = said.removeprefix(beginning).lstrip(": ")
    reason = reason_of(said)
    if not reason.startswith(FILE_GONE):
        return f"cannot be read: {reason}"
    return (
        f"lists a file that is not there: {reason}. Put it back; or, with LanceDB, checkout(VERSION) and restore() "
        "bring back an earlier version that does not list it; or begin anew with `pixlake embed … --overwrite`"
    )


def plain_scan(
    held: Any,
    columns: Sequence[str],
    where: str | None = None,
    *,
    batch_size: int = 65536,
    in_order: bool = True,
    with_row_address: bool = False,
    with_row_id: bool = False,
    limit: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """Stream columns of the rows of a Lance dataset or fragment that match the SQL of `where`."""
    # A fragment's scanner does not know the word.
    order = {} if in_order else {"scan_in_order": False}
    scanner = held.scanner(
        columns=list(columns),
        filter=where,
        batch_size=batch_size,
        with_row_address=with_row_address,
        with_row_id=with_row_id,
        limit=limit,
        use_scalar_index=False,
        **order,
    )
    with reading(held):
        yield from scanner.to_batches()


def plain_count(held: Any, where: str | None = None, *, fragments: Sequence[Any] | None = None) -> int:
    """Count the rows of a Lance dataset, of some of its `fragments`, or of one fragment that match the SQL of `where`;
    without `where`, from metadata alone."""
    if where is None and fragments is None:
        return int(held.count_rows())
    within = {} if fragments is None else {"fragments": list(fragments)}
    scanner = held.scanner(columns=[], filter=where, with_row_address=True, use_scalar_index=False, **within)
    with reading(held):
        return int(scanner.count_rows())
