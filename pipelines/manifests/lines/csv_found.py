"""Where the rows of CSV are, found without reading them wherever quotes leave no doubt about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from pipelines.manifests.lines.blocks import Block, Position
from pipelines.manifests.lines.csv_rows import MAX_FIELD
from pipelines.manifests.lines.found import (
    CR,
    LF,
    FoundRows,
    count_between,
    is_utf8,
    not_ascii,
    without_returns,
)
from pipelines.manifests.lines.text import MAX_LINE_BYTES, Line, line_of
from pipelines.manifests.records import CsvColumns, ManifestRecord, csv_records_below

_QUOTE = ord('"')
_FEWEST, _MOST = 64, 65_536
"""Rows read one by one where the structure is in doubt, before the rest of the block is looked at again."""
_BOM = 0xEF
"""The first byte of a byte order mark."""


def find_csv_rows(text: "UnreadText", columns: CsvColumns) -> Iterator[FoundRows]:
    """The rows of what is behind the header, in order.

    Where quotes do not stand right at the edges of their fields, rows are read one by one: 64 at first, twice as many
    each time that did not get beyond the trouble.
    """
    patience = _FEWEST
    while not text.is_empty or text.more():
        if text.is_cut:
            yield _read_one_by_one(text, columns, 1)
            continue
        clean = _clean_rows(text.left(), text.at, columns)
        text.skip(clean.found.after)
        if len(clean.found):
            yield clean.found
        if text.is_empty or (not clean.doubted and text.join_next()):
            continue
        patience = _FEWEST if len(clean.found) > patience else min(2 * patience, _MOST)
        yield _read_one_by_one(text, columns, patience)


class UnreadText:
    """The rest of a file, from the start of a line on."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self._blocks = blocks
        self._data, self._place = b"", 0
        self.at = Position()
        self._cut = 0
        """Bytes of the file that the text, one line then, lacks at its end."""

    @property
    def is_cut(self) -> bool:
        return self._cut > 0

    @property
    def is_empty(self) -> bool:
        return self._place == len(self._data)

    def left(self) -> bytes:
        return self._data[self._place :]

    def more(self) -> bool:
        """Take the next block, where nothing is left. False at the end of the file."""
        block = next(self._blocks, None)
        if block is None:
            return False
        self._data, self._place, self.at, self._cut = block.data, 0, block.at, block.size - len(block.data)
        return True

    def join_next(self) -> bool:
        """Put the next block behind what is left. False where there is none, or what is left is too much for a row."""
        left, at = self.left(), self.at
        if len(left) > MAX_LINE_BYTES or not self.more():
            return False
        if self._cut:
            self._blocks = chain([Block(self._data, self.at, len(self._data) + self._cut)], self._blocks)
            self._data, self._place, self.at, self._cut = left, 0, at, 0
            return False
        self._data, self.at = left + self._data, at
        return True

    def skip(self, to: Position) -> None:
        """Go on from a place within what is left."""
        self._place, self.at = self._place + to.offset - self.at.offset, to

    def lines(self, starts: dict[int, int]) -> Iterator[Line]:
        """The lines one by one, where each starts put into `starts` by its number. What is left follows them."""
        while not self.is_empty or self.more():
            offset, number = self.at
            end = self._data.find(b"\n", self._place)
            end = len(self._data) if end < 0 else end
            starts[number] = offset
            line = line_of(number, self._data[self._place : end], False)
            size = min(end + 1, len(self._data)) - self._place
            self._place += size
            self.at, self._cut = Position(offset + size + self._cut, number + 1), 0
            yield line


class _Clean(NamedTuple):
    found: FoundRows
    doubted: bool
    """Whether the row behind them must be read as the csv module does; else it is only not whole."""


def _clean_rows(text: bytes, at: Position, columns: CsvColumns) -> _Clean:
    """The rows up to the first one about which quotes leave a doubt."""
    signs = _Signs.find(text, columns.delimiter)
    end = len(text)
    if b'"' in text:
        if columns.escape is not None or b"\0" in text or not is_utf8(text):
            return _Clean(_none(text, at), True)
        end = signs.first_trouble()
    found = _rows_up_to(end, text, signs, at, columns)
    return _Clean(found, end < len(text))


@dataclass(frozen=True)
class _Signs:
    """What a row of CSV is made of, in the order in which it stands in a text."""

    data: np.ndarray
    places: np.ndarray
    """(signs,) int64: of delimiters, quotes and line feeds, and the end of a text without one behind it."""
    kinds: np.ndarray
    """(signs,) uint8."""
    outside: np.ndarray
    """(signs,) bool: an even number of quotes stands before it."""
    delimiter: int

    @classmethod
    def find(cls, text: bytes, delimiter: str) -> "_Signs":
        data = np.frombuffer(text, np.uint8)
        wanted = bytes(sign in (LF, _QUOTE, ord(delimiter)) for sign in range(256))
        places = np.flatnonzero(np.frombuffer(text.translate(wanted), bool))
        kinds = data[places]
        if not text.endswith(b"\n"):
            places, kinds = np.append(places, len(text)), np.append(kinds, np.uint8(LF))
        quotes = np.cumsum(kinds == _QUOTE) - (kinds == _QUOTE)
        return cls(data, places, kinds, quotes % 2 == 0, ord(delimiter))

    def first_trouble(self) -> int:
        """The place of the first quote, carriage return or very long row that the csv module may take otherwise; the
        end where there is none. Before it every second quote closes."""
        data, size = self.data, len(self.data)
        is_quote = self.kinds == _QUOTE
        quotes, opens = self.places[is_quote], self.outside[is_quote]
        before = np.where(quotes > 0, data[quotes - 1], LF)
        behind = np.where(quotes + 1 < size, data[np.minimum(quotes + 1, size - 1)], LF)
        then = np.where(quotes + 2 < size, data[np.minimum(quotes + 2, size - 1)], 0)
        edge = np.where(opens, before, behind)
        good = (edge == self.delimiter) | (edge == LF) | (edge == _QUOTE) | (~opens & (behind == CR) & (then == LF))
        returns = np.flatnonzero(data == CR)
        lone = returns[(returns + 1 >= size) | (data[np.minimum(returns + 1, size - 1)] != LF)]
        feeds = self.places[(self.kinds == LF) & ~self.outside & (self.places < size)]
        within = feeds[data[feeds - 1] == CR]
        ends = self.row_ends()
        long = ends[np.diff(ends, prepend=-1) > MAX_FIELD]
        return min(int(found[0]) if len(found) else size for found in (quotes[~good], lone, within, long))

    def row_ends(self) -> np.ndarray:
        ends: np.ndarray = self.places[(self.kinds == LF) & self.outside]
        return ends


def _rows_up_to(end: int, text: bytes, signs: _Signs, at: Position, columns: CsvColumns) -> FoundRows:
    """The rows that end before `end`, or with the text. Empty lines are none; those that are not as the header says are
    read."""
    data = signs.data
    is_end = (signs.kinds == LF) & signs.outside
    is_end &= (signs.places < end) | (end == len(text))
    ends = signs.places[is_end]
    if not len(ends):
        return _none(text, at)
    starts = np.concatenate([[0], ends[:-1] + 1])
    fields = np.diff(np.cumsum((signs.kinds == signs.delimiter) & signs.outside)[is_end], prepend=0) + 1
    lines = np.cumsum(signs.kinds == LF)[is_end] + at.line
    after = Position(at.offset + min(int(ends[-1]) + 1, len(text)), int(lines[-1]))
    lines = np.concatenate([[at.line], lines[:-1]])
    ends = without_returns(data, starts, ends)
    there = ends > starts
    starts, ends, lines, fields = starts[there], ends[there], lines[there], fields[there]
    # pyarrow would take a byte order mark for none of a field's signs.
    plain = (fields == columns.width) & (ends - starts < MAX_FIELD) & (data[starts] != _BOM)
    if b'"' not in text:
        for sign, what in ((b"\r", CR), (b"\0", 0)):
            if sign in text:
                plain &= count_between(np.flatnonzero(data == what), starts, ends) == 0
        if not is_utf8(text):
            plain &= count_between(not_ascii(data), starts, ends) == 0
    odd: dict[int, ManifestRecord] = {}
    for row in np.flatnonzero(~plain).tolist():
        piece = text[int(starts[row]) : int(ends[row])]
        odd[row] = next(csv_records_below(_lines_of(piece, int(lines[row])), columns))
    return FoundRows(text, starts, ends, lines, odd, at.offset, after)


def _lines_of(piece: bytes, number: int) -> Iterator[Line]:
    for more, line in enumerate(piece.split(b"\n")):
        yield line_of(number + more, line, False)


def _none(text: bytes, at: Position) -> FoundRows:
    nothing = np.zeros(0, np.int64)
    return FoundRows(text, nothing, nothing, nothing, {}, at.offset, at)


def _read_one_by_one(text: UnreadText, columns: CsvColumns, count: int) -> FoundRows:
    offset = text.at.offset
    starts: dict[int, int] = {}
    records = list(islice(csv_records_below(text.lines(starts), columns), count))
    lines = np.array([record.line for record in records], np.int64)
    places = np.array([starts[record.line] - offset for record in records], np.int64)
    return FoundRows(b"", places, places, lines, dict(enumerate(records)), offset, text.at)
