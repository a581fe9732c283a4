"""Image formats recognised from the first bytes, never from a name or a content type."""

import re
import struct

_PREFIXES = (
    ("jpeg", b"\xff\xd8\xff"),
    ("png", b"\x89PNG\r\n\x1a\n"),
    ("gif", b"GIF87a"),
    ("gif", b"GIF89a"),
    ("tiff", b"II*\0"),
    ("tiff", b"MM\0*"),
    ("tiff", b"II+\0"),
    ("tiff", b"MM\0+"),
    ("jp2", b"\0\0\0\x0cjP  "),
    ("jp2", b"\xff\x4f\xff\x51"),
    ("jxl", b"\xff\x0a"),
    ("jxl", b"\0\0\0\x0cJXL "),
)
_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

_REFUSED = (
    ("a PDF", b"%PDF"),
    ("an EPS or PostScript file", b"%!PS"),
    ("an EPS file", b"\xc5\xd0\xd3\xc6"),
    ("a Photoshop file", b"8BPS"),
    ("a GIMP file (XCF)", b"gimp xcf"),
    ("a FITS file", b"SIMPLE  ="),
    ("an icon (ICO)", b"\0\0\1\0"),
    ("a Targa image (TGA)", b"\0\0\2\0\0\0"),  # a cursor has a count there
    ("a Targa image (TGA)", b"\0\0\3\0\0\0"),
    ("a Targa image (TGA)", b"\0\0\x0a\0\0\0"),
    ("a cursor (CUR)", b"\0\0\2\0"),
    ("an icon of macOS (ICNS)", b"icns"),
    ("JPEG XR", b"II\xbc"),
    ("OpenEXR", b"\x76\x2f\x31\x01"),
    ("Radiance HDR", b"#?RADIANCE"),
    ("Radiance HDR", b"#?RGBE"),
    ("QOI", b"qoif"),
    ("a DirectDraw surface (DDS)", b"DDS "),
    ("DjVu", b"AT&TFORM"),
    ("a raw camera file (Fujifilm RAF)", b"FUJIFILMCCD-RAW"),
    ("a raw camera file (Sigma X3F)", b"FOVb"),
    ("a raw camera file (Olympus ORF)", b"IIRO"),
    ("a raw camera file (Olympus ORF)", b"IIRS"),
    ("a raw camera file (Olympus ORF)", b"MMOR"),
    ("a raw camera file (Panasonic RW2)", b"IIU\0"),
    ("a raw camera file (Canon CRW)", b"II\x1a\0\0\0HEAP"),
    ("a raw camera file (Minolta MRW)", b"\0MRM"),
    ("a Matroska or WebM video", b"\x1a\x45\xdf\xa3"),
    ("a pointer of Git LFS, not the file itself (git lfs pull fetches it)", b"version https://git-lfs"),
    ("a zip archive", b"PK\3\4"),
    ("gzip-compressed data", b"\x1f\x8b"),
)
_PNM = re.compile(rb"P[1-6]\s+[#\d]|P7\n|P[Ff]\s+\d")
_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_SVG = re.compile(rb"<(?:[\w.-]+:)?svg[\s>/]|<!doctype\s+svg", re.IGNORECASE)
_HTML = re.compile(rb"<!doctype\s+html|<(?:html|head|body)[\s>/]", re.IGNORECASE)
_ISO_MEDIA = {
    b"crx ": "a raw camera file (Canon CR3)",
    **dict.fromkeys((b"isom", b"iso2", b"mp41", b"mp42", b"avc1", b"qt  ", b"M4V ", b"3gp4", b"3gp5"), "a video"),
}
"""Major brand -> what the file is."""

SNIFFED_BYTES = 4096
"""The first bytes, by which a format is told."""
DESCRIBED_BYTES = 64 * 1024
"""Those by which files of no accepted format are: a drawing may begin with a long comment."""


def sniff(data: bytes) -> str | None:
    """jpeg, png, webp, gif, bmp, tiff, avif, heif, jp2 or jxl; None for anything else."""
    for name, prefix in _PREFIXES:
        if data.startswith(prefix):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:2] == b"BM" and len(data) >= 18 and struct.unpack_from("<I", data, 14)[0] in _BMP_HEADER_SIZES:
        return "bmp"
    return _iso_media(data) if data[4:8] == b"ftyp" else None


def describe(data: bytes) -> str:
    """What bytes that are not an accepted image look like, for a person."""
    for name, prefix in _REFUSED:
        if data.startswith(prefix):
            return f"this is {name}"
    if _PNM.match(data):
        return "this is a PNM file (PBM, PGM, PPM, PAM or PFM)"
    if data[128:132] == b"DICM":
        return "this is a DICOM file"
    what = _iso_media_kind(data[8:12]) if data[4:8] == b"ftyp" else _markup(data)
    return f"this is {what}" if what else f"the first bytes {data[:8].hex(' ')} belong to no known image format"


def _iso_media_kind(brand: bytes) -> str:
    name = brand.decode("latin-1")
    return _ISO_MEDIA.get(brand) or f"an ISO media file of brand {name!r}: a video, or HEIF of another kind"


def _markup(data: bytes) -> str | None:
    """What a text of tags is; declarations and comments may stand before the first tag, in any order."""
    text = data.replace(b"\0", b"") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else data
    text = text.lstrip(b"\xef\xbb\xff\xfe\xbf \t\r\n")
    if not text.startswith(b"<"):
        return None
    told = _COMMENT.sub(b"", text)
    html, svg = _HTML.search(told), _SVG.search(told)
    if svg and not (html and html.start() < svg.start()):
        return "an SVG drawing"
    return "an HTML page, not an image" if html else "XML or HTML text, not an image"


def webp_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) from a WebP header; None where the header is cut short or unknown."""
    chunk = data[12:16]
    if len(data) < 30:
        return None
    if chunk == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return None


def webp_total_bytes(data: bytes) -> int:
    """The file's length as its header gives it."""
    return 8 + int.from_bytes(data[4:8], "little")


def _iso_media(data: bytes) -> str | None:
    """`avif`, `heif` or None. AVIF is tested first: an AVIF file may name `mif1` as its major brand and `avif` among
    the compatible ones."""
    end = min(int.from_bytes(data[:4], "big"), SNIFFED_BYTES, len(data))
    brands = {data[8:12]} | {data[at : at + 4] for at in range(16, end - 3, 4)}
    if brands & _AVIF_BRANDS:
        return "avif"
    return "heif" if brands & _HEIF_BRANDS else None
