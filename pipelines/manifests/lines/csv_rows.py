"""Rows of CSV, and what is wrong with those that are none. Fields end where their quotes end: nothing behind them is
guessed at."""

import csv
import re
from collections.abc import Iterator

MAX_FIELD = 131_072
"""Characters of a field, as of Python's csv module; a quote that is never closed swallows no more."""


class CsvError(ValueError):
    """The text up to here is no row; the message says why. The next line begins a new one."""


class CsvRows:
    """Rows of fields. After a `CsvError` the next row can be asked for."""

    def __init__(self, lines: Iterator[str], delimiter: str, escape: str | None) -> None:
        """`lines` end in line feeds. `escape` is what stands before a quote, and before itself, in a quoted field; None
        where a quote is doubled, as RFC 4180 says."""
        plain = csv.reader(lines, delimiter=delimiter, strict=True)
        self._rows = plain if escape is None else _EscapedRows(lines, delimiter, escape)

    def __iter__(self) -> "CsvRows":
        return self

    def __next__(self) -> list[str]:
        try:
            return next(self._rows)
        except csv.Error as error:
            raise CsvError(_reason(str(error))) from None


def _reason(message: str) -> str:
    if "expected after" in message:
        return (
            "text behind a closing quote; where a quote within a field is written with a backslash before it, as Spark "
            r"does, set source.csv_escape='\'"
        )
    if "new-line character" in message:
        return "a carriage return alone in a field without quotes; end lines with a line feed, or quote the field"
    if "unexpected end" in message:
        return "a quote that is never closed"
    if "field limit" in message:
        return f"a field longer than {MAX_FIELD} characters; is a quote never closed?"
    return message


class _EscapedRows:
    """Rows as Spark writes them: in a quoted field a quote has the escape before it, and so has the escape itself; any
    other sign behind it, and a field without quotes, is as it stands."""

    def __init__(self, lines: Iterator[str], delimiter: str, escape: str) -> None:
        self._lines = lines
        self._delimiter = delimiter
        sign = re.escape(escape)
        self._quoted = re.compile(f'"((?:[^"{sign}]|{sign}.)*+)"', re.DOTALL)
        self._escaped = re.compile(f'{sign}(["{sign}])')

    def __next__(self) -> list[str]:
        text = next(self._lines)[:-1]
        if not text:
            return []
        fields, at = [], 0
        while True:
            if text[at : at + 1] == '"':
                while (found := self._quoted.match(text, at)) is None:
                    text += "\n" + self._further(len(text) - at)
                field, at = self._escaped.sub(r"\1", found[1]), found.end()
                if at < len(text) and text[at] != self._delimiter:
                    raise csv.Error("',' expected after '\"'")
            else:
                end = text.find(self._delimiter, at)
                end = len(text) if end < 0 else end
                field, at = text[at:end], end
                if "\r" in field:
                    raise csv.Error("new-line character seen in unquoted field")
            if len(field) > MAX_FIELD:
                raise csv.Error("field larger than field limit")
            fields.append(field)
            if at == len(text):
                return fields
            at += 1

    def _further(self, held: int) -> str:
        if held > MAX_FIELD:
            raise csv.Error("field larger than field limit")
        line = next(self._lines, None)
        if line is None:
            raise csv.Error("unexpected end of data")
        return line[:-1]
