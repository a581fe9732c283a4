"""The header of a JPEG XL codestream (ISO/IEC 18181-1), in front of all that a decoder takes memory for."""

from dataclasses import dataclass

from operators.base.errors import BadImage, ErrorClass
from operators.pixels.headers.boxes import boxes

_CODESTREAM = b"\xff\x0a"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width to height, by number from 1."""
_SIZE_BITS = (9, 13, 18, 30)
_HEADER_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class JxlHeader:
    """`width` and `height` as stored, before the turn of `orientation` (1 to 8, as EXIF counts)."""

    width: int
    height: int
    orientation: int


def jxl_header(data: bytes) -> JxlHeader:
    """The header of a bare codestream or of one in boxes. Raises `BadImage` where there is none."""
    head = data[:_HEADER_BYTES] if data.startswith(_CODESTREAM) else _in_boxes(data)
    if not head.startswith(_CODESTREAM):
        raise BadImage(ErrorClass.CORRUPT, "jxl: the file holds no codestream")
    bits = _Bits(head[2:])
    small = bits.take(1)
    height = _length(bits, small)
    ratio = bits.take(3)
    width = height * _RATIOS[ratio - 1][0] // _RATIOS[ratio - 1][1] if ratio else _length(bits, small)
    all_default = bits.take(1)
    has_extra = 0 if all_default else bits.take(1)
    return JxlHeader(width=width, height=height, orientation=1 + bits.take(3) if has_extra else 1)


def _in_boxes(data: bytes) -> bytes:
    head = b""
    for kind, body in boxes(memoryview(data), cut=True):
        if kind == b"jxlc":
            return bytes(body[:_HEADER_BYTES])
        if kind == b"jxlp":  # behind its number
            head += bytes(body[4 : 4 + _HEADER_BYTES])
            if len(head) >= _HEADER_BYTES:
                break
    return head


def _length(bits: "_Bits", small: int) -> int:
    return 8 * (1 + bits.take(5)) if small else 1 + bits.take(_SIZE_BITS[bits.take(2)])


class _Bits:
    """Bits of a codestream, the lowest of each byte first; zeros behind its end."""

    def __init__(self, data: bytes) -> None:
        self._rest = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        taken = self._rest & (1 << count) - 1
        self._rest >>= count
        return taken
