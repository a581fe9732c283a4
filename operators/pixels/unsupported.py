"""Why a file that its decoder refuses may be a good one all the same: it holds what no decoder here reads."""

import re

from operators.pixels.jpeg.kinds import unusual

_ITEM = re.compile(rb"infe(?:\x02.{7}|\x03.{9})(.{4})", re.DOTALL)
"""HEIF's list of items (ISO 14496-12, 8.11.6): version, flags, number, protection, and the kind of the item."""
_CODECS = {
    b"av01": "AV1",
    b"vvc1": "VVC (H.266)",
    b"avc1": "AVC (H.264)",
    b"evc1": "EVC",
    b"lhv1": "layered HEVC",
    b"jpeg": "JPEG",
    b"j2k1": "JPEG 2000",
    b"unci": "uncompressed samples",
}
_HEIF_HEADER_BYTES = 64 * 1024


def unsupported(name: str, data: bytes, error: str) -> str | None:
    """What a file of format `name`, of which the decoder said `error`, has that is not read, for a person; None where
    it is damaged."""
    if name == "jpeg":
        return unusual(data)
    if name == "bmp":
        return _of_bmp(data, error)
    return _of_heif(data[:_HEIF_HEADER_BYTES]) if name == "heif" else None


def _of_bmp(data: bytes, error: str) -> str | None:
    if not error.startswith("Unsupported BMP"):
        return None
    bits, method = (int.from_bytes(data[at : at + size], "little") for at, size in ((28, 2), (30, 4)))
    if "bitfields" not in error:
        return error.removeprefix("Unsupported BMP ")
    masks = " ".join(f"{int.from_bytes(data[at : at + 4], 'little'):x}" for at in (54, 58, 62))
    return f"{bits} bits a pixel with red, green and blue in {masks} (compression {method})"


def _of_heif(header: bytes) -> str | None:
    coded = {bytes(kind) for kind in _ITEM.findall(header)}
    foreign = [codec for kind, codec in _CODECS.items() if kind in coded]
    if foreign and b"hvc1" not in coded:
        return f"pictures coded as {foreign[0]}"
    return "a sequence of pictures and no still one" if foreign == [] and b"meta" not in header else None
