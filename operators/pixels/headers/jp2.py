"""What a JPEG 2000 file (ISO/IEC 15444-1) says of its colours, which Pillow leaves out."""

import struct

from operators.pixels.headers.boxes import box, boxes

_KNOWN = {0: "black and white", 12: "CMYK", 15: "black and white", 16: "sRGB", 17: "greyscale", 18: "sYCC"}
"""Enumerated colours that decode to what Pillow says they are (15444-1, table I.10; 15444-2, table M.25)."""
_REFUSED = {1: "YCbCr", 3: "YCbCr", 4: "YCbCr", 9: "PhotoYCC", 11: "CMY", 13: "YCCK", 14: "CIELab", 19: "CIEJab"}
_REFUSED |= {20: "e-sRGB", 21: "ROMM-RGB", 22: "YPbPr", 24: "e-sYCC"}


def jp2_colours(data: bytes) -> tuple[bytes | None, str | None]:
    """(ICC profile, name of colours that are not read) of the first description of colours that is known at all; of a
    bare codestream, neither."""
    header = box(memoryview(data), b"jp2h")
    for kind, body in boxes(header):
        if kind != b"colr" or len(body) < 3:
            continue
        if body[0] in (2, 3):
            return bytes(body[3:]), None
        if body[0] == 1 and len(body) >= 7:
            number = struct.unpack_from(">I", body, 3)[0]
            return None, None if number in _KNOWN else _REFUSED.get(number, f"colours of number {number}")
    return None, None
