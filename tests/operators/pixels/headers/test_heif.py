"""How AVIF and HEIF files are shown: their clean aperture, and turns that EXIF and XMP have no say in."""

import io
import struct

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from made.files import with_property
from operators.pixels.headers.heif import shown
from operators.pixels.images import DecodeRules, decode

RULES = DecodeRules(max_pixels=10**6)
AS_STORED = DecodeRules(max_pixels=10**6, orient=False)

CORNERS = np.zeros((32, 64, 3), np.uint8)
"""Red, green, blue and black corners."""
CORNERS[:16, :32, 0] = CORNERS[:16, 32:, 1] = CORNERS[16:, :32, 2] = 250


def exif(orientation: int, tag: int = 0x0112) -> bytes:
    tags = Image.Exif()
    tags[tag] = orientation
    return tags.tobytes()


def avif(**options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(CORNERS).save(out, "AVIF", quality=95, **options)
    return out.getvalue()


def heic(**info: object) -> bytes:
    file = pillow_heif.from_pillow(Image.fromarray(CORNERS))
    file.info.update(info)
    out = io.BytesIO()
    file.save(out, quality=95)
    return out.getvalue()


def assert_like(pixels: np.ndarray, expected: np.ndarray) -> None:
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 8


def clap(wide: int, high: int, right: tuple[int, int] = (0, 1), down: tuple[int, int] = (0, 1)) -> bytes:
    return struct.pack(">IIIIiIiI", wide, 1, high, 1, *right, *down)


def test_an_avif_shows_the_part_that_its_clean_aperture_says() -> None:
    """ISO/IEC 14496-12, 12.1.4: the centre of the aperture lies at the image's own, moved by the offsets."""
    middle = decode(with_property(avif(), b"clap", clap(32, 16)), RULES).pixels
    assert_like(middle, CORNERS[8:24, 16:48])
    corner = decode(with_property(avif(), b"clap", clap(32, 16, (-16, 1), (16, 2))), RULES).pixels
    assert_like(corner, CORNERS[16:32, 0:32])
    odd = decode(with_property(avif(), b"clap", clap(33, 15, (-1, 2), (1, 2))), RULES).pixels
    assert_like(odd, CORNERS[9:24, 15:48])


@pytest.mark.parametrize(
    "body",
    [clap(66, 16), clap(32, 16, (17, 1)), clap(33, 16), clap(0, 0), clap(32, 16, (1, 0))],
    ids=["wider", "outside", "half a pixel", "empty", "by zero"],
)
def test_an_aperture_that_makes_no_sense_is_ignored(body: bytes) -> None:
    assert_like(decode(with_property(avif(), b"clap", body), RULES).pixels, CORNERS)


def test_a_clean_aperture_is_cut_before_the_turns() -> None:
    turned = with_property(avif(), b"clap", clap(32, 16, (-16, 1), (-8, 1)))
    assert_like(decode(with_property(turned, b"irot", b"\1"), RULES).pixels, np.rot90(CORNERS[0:16, 0:32]))
    assert_like(decode(with_property(turned, b"irot", b"\1"), AS_STORED).pixels, CORNERS[0:16, 0:32])


@pytest.mark.parametrize("angle", range(4))
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_irot_and_imir_turn_an_avif(angle: int, axis: int | None) -> None:
    """ISO/IEC 23008-12:2022, 6.5.10 and 6.5.12: quarter turns anti-clockwise; axis 0 exchanges top and bottom."""
    data, upright = with_property(avif(), b"irot", bytes([angle])), np.rot90(CORNERS, angle)
    if axis is not None:
        data, upright = with_property(data, b"imir", bytes([axis])), np.flip(upright, axis)
    assert_like(decode(data, RULES).pixels, upright)
    assert_like(decode(data, AS_STORED).pixels, CORNERS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_and_heic_are_turned_as_the_libraries_that_write_them_mean_it(orientation: int) -> None:
    """Pillow and pillow_heif write an EXIF orientation as irot and imir: libavif's and libheif's own reading."""
    upright = {
        1: CORNERS, 2: CORNERS[:, ::-1], 3: CORNERS[::-1, ::-1], 4: CORNERS[::-1],
        5: CORNERS.swapaxes(0, 1), 6: np.rot90(CORNERS, -1),
        7: CORNERS[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(CORNERS),
    }[orientation]  # fmt: skip
    assert_like(decode(avif(exif=exif(orientation)), RULES).pixels, upright)
    assert_like(decode(avif(exif=exif(orientation)), AS_STORED).pixels, CORNERS)
    data = heic(exif=exif(orientation))
    assert_like(decode(data, RULES).pixels, upright)
    assert_like(decode(data, AS_STORED).pixels, CORNERS)


def test_exif_and_xmp_do_not_turn_an_avif_or_a_heic() -> None:
    """MIAF, ISO/IEC 23000-22, 7.3.6.7: turns are properties, and what metadata says of them is for information."""
    # Under other names, of which the writers make no turns; they become those of the orientation in the file.
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientatiom="6"/></x:xmpmeta>'
    for data in (avif(xmp=xmp), heic(xmp=xmp), avif(exif=exif(6, 0x0113)), heic(exif=exif(6, 0x0113))):
        renamed = data.replace(b"Orientatiom", b"Orientation").replace(b"\x01\x13\0\x03", b"\x01\x12\0\x03")
        assert renamed != data
        assert_like(decode(renamed, RULES).pixels, CORNERS)


def test_boxes_that_cannot_be_read_say_nothing() -> None:
    data = with_property(avif(), b"irot", b"\1")
    assert shown(data).turns == ((b"irot", 1),)
    for cut in range(0, len(data), 3):
        assert shown(data[:cut]) is not None
    random = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(data)
        for at in random.integers(0, 400, 4):
            damaged[at % len(data)] = random.integers(256)
        assert shown(bytes(damaged)) is not None
