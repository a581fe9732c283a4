"""A file of lines as blocks of whole lines, in bounded memory, whatever the bytes are."""

from collections.abc import Iterator
from typing import IO, NamedTuple

from pipelines.manifests.lines.text import MAX_LINE_BYTES, check_start

BLOCK_BYTES = 4 << 20
_START_BYTES = 1 << 20


class Position(NamedTuple):
    """Where a line starts in a file."""

    offset: int = 0
    """In bytes of the unpacked file."""
    line: int = 1
    """1-based."""


class Block(NamedTuple):
    """Whole lines, each with its line feed but for the last one of a file."""

    data: bytes
    at: Position
    size: int
    """Bytes of the file that it stands for: more than those of `data` where it is one line over `MAX_LINE_BYTES`, of
    which the rest was dropped."""

    @property
    def is_cut(self) -> bool:
        return self.size != len(self.data)

    @property
    def after(self) -> Position:
        lines = self.data.count(b"\n") + (not self.data.endswith(b"\n"))
        return Position(self.at.offset + self.size, self.at.line + lines)


def read_blocks(stream: IO[bytes], at: Position) -> Iterator[Block]:
    """The rest of a file, of which `stream` stands at `at`. Raises `NoLinesError` for UTF-16, and where lines end in
    carriage returns alone."""
    held, dropped = b"", 0
    while chunk := stream.read(BLOCK_BYTES):
        if not at.offset and not held:
            check_start(chunk[:_START_BYTES])
        end = chunk.rfind(b"\n") + 1
        if end and dropped:
            ended = chunk.find(b"\n") + 1
            block = Block(held + b"\n", at, len(held) + dropped + ended)
            yield block
            at, held, dropped = block.after, b"", 0
            chunk, end = chunk[ended:], end - ended
        if end:
            block = Block(held + chunk[:end], at, len(held) + end)
            yield block
            at, held, chunk = block.after, b"", chunk[end:]
        held += chunk
        if len(held) > MAX_LINE_BYTES:
            dropped += len(held) - MAX_LINE_BYTES - 1
            held = held[: MAX_LINE_BYTES + 1]
    if held:
        yield Block(held, at, len(held) + dropped)
