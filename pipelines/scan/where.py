"""The condition with which a user chooses rows of a table: read in one way everywhere, and refused before anything
starts.

Lance reads a condition up to where it stops being one, and ignores the rest: of `size > 1) or (size < 0` only the first
half counts. So it is tried in parentheses, and a condition that does not fill them is an error.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import pyarrow as pa

from operators.base.errors import UserError, clean_message
from pipelines.scan.literals import other_literal
from pipelines.scan.plain import reading
from pipelines.scan.sql import double_quoted, sql_column, sql_text, with_backticks

_UNKNOWN = re.compile(r'No field named (?:"((?:[^"]|"")*)"|([^\s"]+?))\.(?:\s|$)')
_PARSER = re.compile(r"sql parser error: (.*)\)")
_SOURCE_LINES = re.compile(r",? ?\S*/\S+\.rs:\d+(:\d+)?")
_PREFIXES = re.compile(r"^((External error|Invalid user input|Schema error|Query Execution error|Execution error): )+")
_LISTED = 30


class FilterError(UserError):
    """A condition that does not work on the table; the message says why and names columns."""


def row_filter(dataset: Any, where: str, option: str = "--where") -> str:
    """The condition in the form that every library reads alike, checked against the table's schema; no row is read.

    It has no comments and is whole, so it may be put into parentheses. Raises `FilterError`.
    """
    try:
        condition = with_backticks(where)
        scanner = dataset.scanner(columns=[], with_row_id=True, filter=f"({condition})", use_scalar_index=False)
        scanner.explain_plan()
    except (ValueError, RuntimeError) as error:
        raise filter_error(where, error, dataset.schema, option) from None
    return condition


@contextmanager
def filtered(held: Any, where: str | None, option: str = "--where") -> Iterator[None]:
    """Around what reads rows of a Lance dataset by a user's condition. Raises `FilterError` where that fails on a row,
    `OSError` where storage fails."""
    try:
        with reading(held):
            yield
    except ValueError as error:
        if where is None or isinstance(error, UserError):
            raise
        raise filter_error(where, error, held.schema, option) from None


def filter_error(where: str, error: Exception, schema: pa.Schema, option: str = "--where") -> FilterError:
    """What a user is told of a condition that Lance refuses, or that fails on a row."""
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    unknown = _UNKNOWN.search(why)
    if unknown:
        why = _unknown_column(unknown[1].replace('""', '"') if unknown[1] is not None else unknown[2], where, schema)
    elif (other := other_literal(why)) is not None:
        why = clean_message(other)
    elif "Task was aborted" in why:
        why = "Lance cannot read it"
    else:
        parser = _PARSER.search(why)
        why = clean_message(parser[1] if parser else _SOURCE_LINES.sub("", _PREFIXES.sub("", why)))
    names = [_as_typed(name) for name in schema.names]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    listed = f"columns: {', '.join(names[:_LISTED])}{more}"
    return FilterError(f"{option} {clean_message(repr(where))} does not work on this table: {why}; {listed}")


def _unknown_column(name: str, where: str, schema: pa.Schema) -> str:
    by_case = {each.lower(): each for each in schema.names}
    near = [by_case[each] for each in get_close_matches(name.lower(), by_case, 3, 0.6)]
    said = f"there is no column {name!r}"
    if near:
        said += f"; did you mean {' or '.join(map(sql_column, near))}?"
    if name in double_quoted(where):
        said += (
            f"; a word in double quotes is a column, as {sql_column(name)} in backticks is; a text stands in single "
            f"quotes: {sql_text(name)}"
        )
    elif "." in name:
        said += f"; a field within a column is written {'.'.join(map(sql_column, name.split('.')))}"
    return said


def _as_typed(name: str) -> str:
    return name if re.fullmatch(r"[^\W\d]\w*", name) else sql_column(name)
