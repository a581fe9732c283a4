"""Whether a picture is turned: by the EXIF tag and by nothing else."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from operators.pixels.images import DecodeRules, decode

RULES = DecodeRules(max_pixels=10**6)
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)
"""Quarter turn clockwise, as Lightroom writes it beside pixels that it has turned itself."""


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_xmp_does_not_turn_a_picture(format: str) -> None:
    options: dict[str, Any] = {"xmp": XMP.encode()}
    if format == "PNG":
        options = {"pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP)
    if format == "TIFF":
        options = {"tiffinfo": {700: XMP.encode()}}
    out = io.BytesIO()
    Image.new("RGB", (64, 32)).save(out, format, **options)
    assert b'tiff:Orientation="6"' in out.getvalue()
    assert decode(out.getvalue(), RULES).pixels.shape == (32, 64, 3)
    assert decode(out.getvalue(), DecodeRules(max_pixels=10**6, orient=False)).pixels.shape == (32, 64, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_exif_tag_turns_it_whatever_xmp_says(format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    options: dict[str, Any] = {"exif": exif, "xmp": XMP.encode()}
    if format == "PNG":
        options = {"exif": exif, "pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP)
    if format == "TIFF":
        exif[700] = XMP.encode()
        options = {"exif": exif}
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, 32:] = 250
    out = io.BytesIO()
    Image.fromarray(picture).save(out, format, **options)
    pixels = decode(out.getvalue(), RULES).pixels
    assert pixels.shape == (64, 32, 3)
    assert pixels[5, 16].min() > 200  # anti-clockwise: what was on the right is on top
    assert pixels[-5, 16].max() < 50
