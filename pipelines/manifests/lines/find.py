"""The rows of one manifest of lines, found from any row on."""

from collections.abc import Iterator
from functools import partial

from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions
from pipelines.manifests.lines.blocks import Position
from pipelines.manifests.lines.csv_found import UnreadText, find_csv_rows
from pipelines.manifests.lines.found import FoundRows, find_lines
from pipelines.manifests.lines.packed import opened_blocks
from pipelines.manifests.lines.tables import LinesFile
from pipelines.manifests.lines.text import line_of
from pipelines.manifests.manifest import SourceConfig
from pipelines.manifests.records import CsvColumns, ManifestRecord, jsonl_records, read_csv_header, text_records

_DELIMITERS = {"csv": ",", "tsv": "\t"}
_OPEN, _CLOSE = (ord("{"), ord("{")), (ord("}"), ord("}"))
_FIRST, _LAST = (ord("$"), ord("~")), (ord("!"), ord("~"))
"""Of a line of text: signs that no `strip` takes away, and behind `#`, which begins a comment."""


RowsOfFile = tuple[LinesFile, FoundRows]


def find_rows(uri: str, kind: str, config: SourceConfig, storage: StorageOptions, at: Position) -> Iterator[RowsOfFile]:
    """The file's rows from `at` on, where a row starts, some thousands at a time. Raises `SourceError` where it is
    unreadable as a whole, when that shows."""
    if kind in _DELIMITERS:
        yield from _find_csv(uri, _DELIMITERS[kind], config, storage, at)
        return
    file = LinesFile(uri, kind, config, None)
    first, last = (_FIRST, _LAST) if kind == "text" else (_OPEN, _CLOSE)
    read_line = _text_of if kind == "text" else partial(_object_of, config)
    with opened_blocks(uri, storage, at) as blocks:
        for block in blocks:
            yield file, find_lines(block, first=first, last=last, read_line=read_line)


def _find_csv(
    uri: str, delimiter: str, config: SourceConfig, storage: StorageOptions, at: Position
) -> Iterator[RowsOfFile]:
    with opened_blocks(uri, storage, Position()) as blocks:
        text = UnreadText(blocks)
        header = read_csv_header(text.lines({}), delimiter, config.csv_escape, redact_uri(uri))
        if not header:
            return
        columns = CsvColumns.choose(header, delimiter, config, redact_uri(uri))
        file = LinesFile(uri, "csv", config, columns)
        if not at.offset:
            yield from ((file, rows) for rows in find_csv_rows(text, columns))
            return
    with opened_blocks(uri, storage, at) as blocks:
        yield from ((file, rows) for rows in find_csv_rows(UnreadText(blocks), columns))


def _text_of(number: int, data: bytes) -> ManifestRecord | None:
    return next(text_records(iter([line_of(number, data, False)])), None)


def _object_of(config: SourceConfig, number: int, data: bytes) -> ManifestRecord | None:
    return next(jsonl_records(iter([line_of(number, data, False)]), config), None)
