"""What kind of JPEG a file is, where decoders of 8-bit JPEGs do not take it."""

_PROCESSES = {
    0xC3: "lossless",
    0xCB: "lossless and arithmetic-coded",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical"),
    **dict.fromkeys((0xC9, 0xCA), "arithmetic-coded"),
    0xF7: "lossless (JPEG-LS)",
}
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""The markers that begin a frame (T.81, table B.1; T.87)."""
_LOSSLESS = 0xC3
"""Read where it is greyscale; colours are, where they are stored as RGB."""
_SCAN = 0xDA


def unusual(data: bytes) -> str | None:
    """What the frame header of a JPEG has that common decoders do not read, for a person; None where it has not."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        kind, start = data[at + 1], at + 4
        at = at + 1 if kind == 0xFF else at + 2 + int.from_bytes(data[at + 2 : start], "big")
        if kind in _FRAMES and len(data) >= start + 6:
            return _of_frame(kind, data[start : start + 6])
        if kind == _SCAN:
            return None
    return None


def _of_frame(kind: int, frame: bytes) -> str | None:
    bits, height, components = frame[0], int.from_bytes(frame[1:3], "big"), frame[5]
    if bits != 8:
        return f"{bits} bits a sample"
    if components not in (1, 3, 4):
        return f"{components} components"
    if kind in _PROCESSES and (kind, components) != (_LOSSLESS, 1):
        return f"{_PROCESSES[kind]} data"
    return "a height that comes after the picture (DNL)" if height == 0 else None
