"""Rows of a file whose place in it is known and which are not read yet."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.manifests.lines.blocks import Block, Position
from pipelines.manifests.lines.text import MAX_LINE_BYTES
from pipelines.manifests.records import ManifestRecord

LF, CR = 0x0A, 0x0D


@dataclass(frozen=True)
class FoundRows:
    """Consecutive rows of one file. Those that are `odd` are records already, the others are read as columns."""

    data: bytes
    starts: np.ndarray
    """(rows,) int64: where in `data` each row starts, and where it ends, without its line end."""
    ends: np.ndarray
    lines: np.ndarray
    """(rows,) int64: 1-based number of the line in the file where each row starts."""
    odd: dict[int, ManifestRecord]
    """By the number of the row in here."""
    offset: int
    """Of `data` in the unpacked file."""
    after: Position
    """Where the file goes on behind the last row."""

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def size(self) -> int:
        """Bytes of the rows, about."""
        return int(self.ends[-1] - self.starts[0]) if len(self) else 0

    def slice(self, first: int, count: int) -> "FoundRows":
        last = min(first + count, len(self))
        odd = {row - first: record for row, record in self.odd.items() if first <= row < last}
        after = (
            self.after if last == len(self) else Position(self.offset + int(self.starts[last]), int(self.lines[last]))
        )
        return FoundRows(
            self.data, self.starts[first:last], self.ends[first:last], self.lines[first:last], odd, self.offset, after
        )

    @property
    def is_plain(self) -> np.ndarray:
        """(rows,) bool: the rows that are to be read as columns."""
        plain = np.ones(len(self), bool)
        plain[list(self.odd)] = False
        return plain

    def plain_bytes(self) -> bytes:
        """The plain rows with the lines between them that are no rows."""
        plain = self.is_plain
        if plain.all():
            return self.data[int(self.starts[0]) : int(self.ends[-1])] if len(self) else b""
        edges = np.flatnonzero(np.diff(plain, prepend=False, append=False)).reshape(-1, 2)
        view = memoryview(self.data)
        return b"\n".join(view[int(self.starts[first]) : int(self.ends[last - 1])] for first, last in edges)


def without(found: FoundRows, missing: list[int]) -> FoundRows:
    """The rows but for some that turned out to be none."""
    if not missing:
        return found
    stays = np.ones(len(found), bool)
    stays[missing] = False
    number = np.cumsum(stays) - 1
    odd = {int(number[row]): record for row, record in found.odd.items()}
    return FoundRows(
        found.data, found.starts[stays], found.ends[stays], found.lines[stays], odd, found.offset, found.after
    )


def newlines(data: bytes) -> np.ndarray:
    """(lines,) int64: where the lines end, the last one also without a line feed."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == LF)
    return ends if data.endswith(b"\n") else np.append(ends, len(data))


def without_returns(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The ends of lines without a carriage return in front of them."""
    returns: np.ndarray = (ends > starts) & (data[ends - 1] == CR)
    return np.where(returns, ends - 1, ends)


def is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def count_between(places: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(rows,) int64: how many of the sorted places lie in each row."""
    return np.searchsorted(places, ends) - np.searchsorted(places, starts)


def not_ascii(data: np.ndarray) -> np.ndarray:
    return np.flatnonzero(data >= 0x80)


def texts(found: FoundRows) -> pa.Array:
    """The plain rows as strings."""
    plain = found.is_plain
    starts, ends = found.starts[plain], found.ends[plain]
    if not len(starts):
        return pa.array([], pa.string())
    # Each row and what lies between it and the next one are strings side by side; then every other one is taken.
    bounds = np.stack([starts, ends], 1).reshape(-1).astype(np.int32)
    size = len(bounds) - 1
    side_by_side = pa.StringArray.from_buffers(size, pa.py_buffer(bounds), pa.py_buffer(found.data))
    return side_by_side.take(pa.array(np.arange(0, size, 2)))


ReadLine = Callable[[int, bytes], ManifestRecord | None]
"""Number and bytes of a line -> its record; None where it is no row."""


def find_lines(block: Block, *, first: tuple[int, int], last: tuple[int, int], read_line: ReadLine) -> FoundRows:
    """The rows of a block in which each line is one, or none. Lines are plain that are UTF-8, no longer than 1 MiB, and
    begin and end with a byte between those given; all others are read one by one."""
    data = np.frombuffer(block.data, np.uint8)
    ends = newlines(block.data)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lines = np.arange(block.at.line, block.at.line + len(ends))
    ends = without_returns(data, starts, ends)
    there = ends > starts
    starts, ends, lines = starts[there], ends[there], lines[there]
    begins, stops = data[starts], data[ends - 1]
    plain = (first[0] <= begins) & (begins <= first[1]) & (last[0] <= stops) & (stops <= last[1])
    plain &= ends - starts < MAX_LINE_BYTES
    if not is_utf8(block.data):
        plain &= count_between(not_ascii(data), starts, ends) == 0
    odd, missing = {}, []
    for row in np.flatnonzero(~plain):
        record = read_line(int(lines[row]), _whole_line(block.data, int(starts[row]), int(ends[row])))
        if record is None:
            missing.append(int(row))
        else:
            odd[int(row)] = record
    return without(FoundRows(block.data, starts, ends, lines, odd, block.at.offset, block.after), missing)


def _whole_line(data: bytes, start: int, end: int) -> bytes:
    """With the carriage return, which counts in its length."""
    return data[start : end + (data[end : end + 1] == b"\r")]
