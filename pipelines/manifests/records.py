"""Text, CSV and JSON Lines manifests as records: one record per row, whatever the row holds, in bounded memory."""

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, NamedTuple

from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions
from pipelines.manifests.columns.ids import IdError, json_id
from pipelines.manifests.lines.csv_rows import CsvError, CsvRows
from pipelines.manifests.lines.packed import opened_lines
from pipelines.manifests.lines.text import Line
from pipelines.manifests.manifest import SourceConfig, SourceError, check_columns, choose_uri_column

_SAMPLE_LINES = 1000


class ManifestRecord(NamedTuple):
    """One manifest row. `problem` says why it has no URI; None for a row that was read."""

    line: int
    """1-based number of the line in the file where it starts."""
    uri: str | None
    id: str | None
    kept: tuple[str | None, ...]
    problem: str | None


def column_names(
    uris: Sequence[str], kind: str, config: SourceConfig, storage: StorageOptions
) -> tuple[list[str], str]:
    """(the columns of files that belong together; the file that says them). Files without rows say nothing.

    They are the first header of CSV; the keys in the first 1,000 lines of JSON Lines, `uri` where none of these is an
    object: each row becomes a failure; `uri` for text. Raises `SourceError` where no file has a header, or where the id
    column holds no ids in those lines; further on, that is a failed row.
    """
    if kind == "text":
        return ["uri"], uris[0]
    if kind != "jsonl":
        return _first_header(uris, "\t" if kind == "tsv" else ",", config, storage)
    names: dict[str, str] = {}
    with closing(_lines_of(uris, storage)) as lines:
        for uri, line in islice(lines, _SAMPLE_LINES):
            parsed = parse_object(line)[0] or {}
            _check_id(parsed, config.id_column, f"{redact_uri(uri)}:{line.number}")
            names |= {str(key): uri for key in parsed if str(key) not in names}
    return [*names] or ["uri"], next(iter(names.values()), uris[0])


def _first_header(
    uris: Sequence[str], delimiter: str, config: SourceConfig, storage: StorageOptions
) -> tuple[list[str], str]:
    for uri in uris:
        with opened_lines(uri, storage) as lines:
            header = read_csv_header(lines, delimiter, config.csv_escape, redact_uri(uri))
        if header:
            return header, uri
    raise SourceError(f"{redact_uri(uris[0])}: no header, and no row; write the columns' names first, such as: uri")


def _lines_of(uris: Sequence[str], storage: StorageOptions) -> Generator[tuple[str, Line], None, None]:
    for uri in uris:
        with opened_lines(uri, storage) as lines:
            for line in lines:
                yield uri, line


def _check_id(parsed: dict[Any, Any], name: str | None, where: str) -> None:
    try:
        json_id(parsed.get(name))
    except IdError as error:
        raise SourceError(f"{where}: id_column {name!r} holds {error}") from None


def text_records(lines: Iterator[Line]) -> Iterator[ManifestRecord]:
    """One URI a line. Empty lines, and lines that start with `#`, are no rows."""
    for number, text, problem in lines:
        uri = text.strip()
        if problem is not None:
            yield ManifestRecord(number, None, None, (), problem)
        elif uri and uri[0] != "#":
            yield ManifestRecord(number, uri, None, (), None)


class CsvColumns(NamedTuple):
    """How the rows of one CSV file are read: by the numbers of its columns."""

    delimiter: str
    escape: str | None
    width: int
    """Columns of the header."""
    uri: int
    id: int | None
    kept: tuple[int, ...]

    @classmethod
    def choose(cls, header: list[str], delimiter: str, config: SourceConfig, name: str) -> "CsvColumns":
        """Raises `SourceError` where a column is missing."""
        uri = header.index(choose_uri_column(header, config, name))
        check_columns(header, config, name)
        row_id = None if config.id_column is None else header.index(config.id_column)
        kept = tuple(header.index(column) for column in config.keep)
        return cls(delimiter, config.csv_escape, len(header), uri, row_id, kept)


def csv_records_below(lines: Iterator[Line], columns: CsvColumns) -> Iterator[ManifestRecord]:
    """The rows of lines behind the header, quoted as RFC 4180 says. Empty lines are no rows; empty fields are null.
    Between two rows no line is read ahead."""
    feed = _CsvFeed(lines)
    yield from _rows_of_csv(CsvRows(feed, columns.delimiter, columns.escape), feed, columns)


def _rows_of_csv(rows: CsvRows, feed: "_CsvFeed", columns: CsvColumns) -> Iterator[ManifestRecord]:
    empty = (None,) * len(columns.kept)
    while True:
        feed.start = 0
        try:
            row = next(rows)
        except StopIteration:
            return
        except CsvError as error:
            reason, feed.problem = feed.problem or str(error), None
            yield ManifestRecord(feed.start, None, None, empty, f"{reason}, up to line {feed.number}")
            continue
        if feed.problem is not None:
            yield ManifestRecord(feed.start, None, None, empty, feed.problem)
            feed.problem = None
        elif len(row) == columns.width:
            row_id = None if columns.id is None else row[columns.id] or None
            kept = tuple([row[at] or None for at in columns.kept])
            yield ManifestRecord(feed.start, row[columns.uri], row_id, kept, None)
        elif row:
            reason = f"{len(row)} fields up to line {feed.number} where the header has {columns.width}"
            yield ManifestRecord(feed.start, None, None, empty, reason)


def read_csv_header(lines: Iterator[Line], delimiter: str, escape: str | None, name: str) -> list[str]:
    """The first row; empty in a file that has none. No line behind it is read. Raises `SourceError` where it cannot be
    read."""
    try:
        return next((row for row in CsvRows(_CsvFeed(lines), delimiter, escape) if row), [])
    except CsvError as error:
        raise SourceError(f"{name}: the header cannot be read: {error}") from None


def jsonl_records(lines: Iterator[Line], config: SourceConfig) -> Iterator[ManifestRecord]:
    """One JSON object a line. Empty lines are no rows. Kept values that are not strings become JSON text."""
    empty = (None,) * len(config.keep)
    for line in lines:
        if line.problem is None and (not line.text or line.text.isspace()):
            continue
        parsed, problem = parse_object(line)
        if parsed is None:
            yield ManifestRecord(line.number, None, None, empty, problem)
            continue
        uri = parsed.get(config.uri_column)
        if uri is not None and not isinstance(uri, str):
            uri, problem = None, f"{config.uri_column} is no string"
        row_id = None
        if config.id_column is not None:
            try:
                row_id = json_id(parsed.get(config.id_column))
            except IdError as error:
                uri, problem = None, problem or f"id_column {config.id_column!r} holds {error}"
        kept = tuple([as_text(parsed.get(column)) for column in config.keep])
        yield ManifestRecord(line.number, uri, row_id, kept, problem)


def parse_object(line: Line) -> tuple[dict[Any, Any] | None, str | None]:
    """(the JSON object of a line, None), or (None, the reason why there is none)."""
    if line.problem is not None:
        return None, line.problem
    try:
        parsed = json.loads(line.text)
    except json.JSONDecodeError as error:
        return None, f"not valid JSON ({error.msg}, character {error.colno})"
    except (ValueError, RecursionError):
        return None, "JSON with a number too long or nested too deeply"
    return (parsed, None) if isinstance(parsed, dict) else (None, "not a JSON object")


class _CsvFeed:
    """Lines for the csv module, remembering the place in the file and what was wrong with a line."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self.number = 0
        self.start = 0
        """Number of the first line since it was set to 0."""
        self.problem: str | None = None

    def __iter__(self) -> "_CsvFeed":
        return self

    def __next__(self) -> str:
        self.number, text, problem = next(self._lines)
        self.start = self.start or self.number
        self.problem = self.problem or problem
        return text + "\n"


def as_text(value: object) -> str | None:
    """A JSON value as a text column holds it: strings as they are, null as null, all else as JSON."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
