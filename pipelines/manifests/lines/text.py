"""Bytes as lines of text in UTF-8: one at a time, in bounded memory, whatever the bytes are."""

from collections.abc import Iterator
from typing import IO, NamedTuple

MAX_LINE_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class NoLinesError(ValueError):
    """The bytes as a whole are no lines of text in UTF-8; the message says what they are."""


class Line(NamedTuple):
    number: int
    """1-based, in the file."""
    text: str
    problem: str | None


def read_lines(stream: IO[bytes]) -> Iterator[Line]:
    r"""Lines ended by `\n` or `\r\n`, without the end. One longer than 1 MiB or not UTF-8 comes out with a problem.

    Raises `NoLinesError` for UTF-16, and where lines end in carriage returns alone.
    """
    number, held, dropping = 0, b"", False
    while chunk := stream.read(_CHUNK_BYTES):
        if not number and not held:
            check_start(chunk)
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            number += 1
            yield line_of(number, b"" if dropping else held + piece, dropping)
            held, dropping = b"", False
        held += rest
        if dropping or len(held) > MAX_LINE_BYTES:
            held, dropping = b"", True
    if held or dropping:
        yield line_of(number + 1, held, dropping)


def check_start(chunk: bytes) -> None:
    """Raises `NoLinesError` where a file that starts so is none of lines in UTF-8."""
    if chunk.startswith(_UTF_16) or chunk[1:2] == b"\0" or chunk[:1] == b"\0":
        raise NoLinesError("is UTF-16, or no text; write it as UTF-8, such as with iconv -f UTF-16 -t UTF-8")
    if b"\n" not in chunk and b"\r" in chunk.rstrip():
        raise NoLinesError("has lines that end in a carriage return alone; end them with a line feed")


def line_of(number: int, data: bytes, too_long: bool) -> Line:
    """Bytes as a line of text, or with the problem why they are none."""
    if too_long or len(data) > MAX_LINE_BYTES:
        return Line(number, "", f"line longer than {MAX_LINE_BYTES} bytes")
    if data.endswith(b"\r"):
        data = data[:-1]
    if number == 1 and data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    try:
        return Line(number, data.decode(), None)
    except UnicodeDecodeError:
        return Line(number, "", "not valid UTF-8")
