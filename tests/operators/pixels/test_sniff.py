"""What bytes are that are no accepted image, in words; by the first bytes that each format's specification gives."""

import io
import struct

import pytest
from PIL import Image

from operators.base.errors import BadImage, ErrorClass
from operators.pixels.images import DecodeRules, decode


def by_pillow(format: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (4, 4)).save(out, format)
    return out.getvalue()


DRAWING = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="1" height="1"/></svg>'
DOCTYPE = b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">'
SVG = {
    "alone": DRAWING,
    "behind a declaration": b'<?xml version="1.0"?>\n' + DRAWING,
    "behind a comment": b"<!-- Generator: a program -->\n" + DRAWING,
    "behind a comment that names HTML": b"<!-- not for <html> pages -->" + DRAWING,
    "behind a long comment": b"<!--" + b"all rights reserved " * 900 + b"-->" + DRAWING,
    "behind a document type": DOCTYPE + b"\n" + DRAWING,
    "behind all three": b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a -->\n" + DOCTYPE + b"<!-- b -->" + DRAWING,
    "with a prefix": b'<?xml version="1.0"?><svg:svg xmlns:svg="http://www.w3.org/2000/svg"/>',
    "with a prefix of its writer's": b'<ns0:svg xmlns:ns0="http://www.w3.org/2000/svg"/>',
    "in UTF-16": DRAWING.decode().encode("utf-16"),
    "behind a document type with entities": b'<!DOCTYPE svg [ <!ENTITY ns "http://example.org/"> ]>' + DRAWING,
}
OTHERS = {
    "cursor (CUR)": b"\0\0\2\0\1\0\x10\x10\0\0",
    "Targa image (TGA)": by_pillow("TGA"),
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "HEIF of another kind": b"\0\0\0\x14ftypavci\0\0\0\0avci",
    "brand 'dash'": b"\0\0\0\x18ftypdash\0\0\0\0iso6mp41",
    "icon (ICO)": by_pillow("ICO"),
    "macOS (ICNS)": by_pillow("ICNS"),
    "OpenEXR": struct.pack("<II", 20000630, 2),
    "QOI": by_pillow("QOI"),
    "PNM file": by_pillow("PPM"),
    "DirectDraw surface": by_pillow("DDS"),
    "Canon CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    "Fujifilm RAF": b"FUJIFILMCCD-RAW 0201FF383501",
    "JPEG XR": b"II\xbc\x01\x20\0\0\0",
    "Radiance HDR": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n",
    "DICOM": bytes(128) + b"DICM" + bytes(20),
    "GIMP": b"gimp xcf v011\0",
    "a video": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
    "HTML page": b"<!-- a notice --><!doctype html><svg></svg>",
    "XML or HTML text": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
}


def refusal(data: bytes) -> BadImage:
    with pytest.raises(BadImage) as caught:
        decode(data, DecodeRules(max_pixels=1_000_000))
    return caught.value


@pytest.mark.parametrize("where", SVG)
def test_a_drawing_is_named_whatever_stands_before_it(where: str) -> None:
    error = refusal(SVG[where])
    assert (error.error_class, "an SVG drawing" in str(error)) == (ErrorClass.UNSUPPORTED_FORMAT, True)


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_named(name: str) -> None:
    error = refusal(OTHERS[name])
    assert (error.error_class, name in str(error)) == (ErrorClass.UNSUPPORTED_FORMAT, True), str(error)


@pytest.mark.parametrize("data", [b"P1 is a name", b"PF and more", b"P8\n4 4\n"])
def test_text_that_begins_like_a_format_is_not_taken_for_it(data: bytes) -> None:
    assert "no known image format" in str(refusal(data))
