"""PNG's colour keys at every depth, and side chunks of every kind: right values are those of the PNG specification."""

import io
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from made.image_files import png, png_chunk
from operators.base.errors import BadImage, ErrorClass
from operators.pixels.images import DecodeRules, decode

RULES = DecodeRules(max_pixels=1_000_000)
COLOURS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pixels_of(data: bytes) -> list[Any]:
    pixels: list[Any] = decode(data, RULES).pixels.tolist()
    return pixels


def key(*values: int) -> bytes:
    return png_chunk(b"tRNS", b"".join(value.to_bytes(2, "big") for value in values))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_grey_key_hides_its_samples_at_every_depth(depth: int) -> None:
    """Each sample of the depth, or 256 of them; one is the key. The rest is scaled to 255, of 16 bits the high byte."""
    highest = (1 << depth) - 1
    samples = np.linspace(0, highest, min(highest + 1, 256)).astype(int)[None]
    for hidden in (0, 1, highest // 2, highest):
        want = np.where(samples == hidden, 255, samples >> 8 if depth == 16 else samples * 255 // highest)
        assert decode(png(samples, depth, 0, key(hidden)), RULES).pixels[..., 0].tolist() == want.tolist()


def test_a_colour_key_of_16_bits_is_compared_in_all_its_bits() -> None:
    """(0x1234, 0x5678, 0x9abc) is hidden; colours of the same high or the same low bytes are not."""
    samples = np.array([[[0x1234, 0x5678, 0x9ABC], [0x1235, 0x5678, 0x9ABC], [0x3434, 0x7878, 0xBCBC]]])
    data = png(samples, 16, 2, key(0x1234, 0x5678, 0x9ABC))
    assert pixels_of(data) == [[[255, 255, 255], [0x12, 0x56, 0x9A], [0x34, 0x78, 0xBC]]]


def test_a_colour_key_of_8_bits_needs_every_channel() -> None:
    samples = np.array([[[9, 8, 7], [9, 8, 6], [7, 8, 9]]])
    assert pixels_of(png(samples, 8, 2, key(9, 8, 7))) == [[[255, 255, 255], [9, 8, 6], [7, 8, 9]]]


@pytest.mark.parametrize(("depth", "stored"), [(1, 2), (2, 4 + 1), (4, 0x101), (8, 0x301)])
def test_of_a_key_only_the_bits_of_the_depth_count(depth: int, stored: int) -> None:
    """PNG 11.3.1.1: the least significant bits are used; here they are 0 at a depth of 1, and 1 at the others."""
    hidden = stored & ((1 << depth) - 1)
    samples = np.array([[0, 1]])
    shown = pixels_of(png(samples, depth, 0, key(stored)))[0]
    assert shown[hidden] == [255, 255, 255]
    assert shown[1 - hidden] == [(1 - hidden) * 255 // ((1 << depth) - 1)] * 3


def test_a_key_beside_a_grey_profile_hides_what_it_should() -> None:
    profile = png_chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(SRGB))
    assert pixels_of(png(np.array([[[9, 8, 7], [1, 2, 3]]]), 8, 2, profile + key(9, 8, 7)))[0][0] == [255, 255, 255]


def big(kind: bytes) -> bytes:
    """A chunk whose contents are 6 MiB once unpacked."""
    packed = zlib.compress(bytes(6 << 20))
    return png_chunk(
        kind, {b"iCCP": b"name\0\0", b"zTXt": b"Comment\0\0", b"iTXt": b"Comment\0\1\0\0\0"}[kind] + packed
    )


SIDE_CHUNKS = {
    "a profile over 4 MiB": big(b"iCCP"),
    "a compressed text of 6 MiB": big(b"zTXt"),
    "an international text of 6 MiB": big(b"iTXt"),
    "many texts": png_chunk(b"tEXt", b"Comment\0" + b"x" * (1 << 20)) * 70,
    "a profile packed by no known method": png_chunk(b"iCCP", b"name\0\x07" + zlib.compress(SRGB)),
    "a broken profile": png_chunk(b"iCCP", b"name\0\0" + zlib.compress(SRGB)[:50]),
    "an empty profile": png_chunk(b"iCCP", b""),
    "a text packed by no known method": png_chunk(b"zTXt", b"Comment\0\x07..."),
    "a text with a keyword in Greek": png_chunk(b"tEXt", "Σχόλιο\0...".encode()),
    "pixel sizes cut short": png_chunk(b"pHYs", b"\0\0"),
    "gamma cut short": png_chunk(b"gAMA", b"\0\0"),
    "chromaticities cut short": png_chunk(b"cHRM", b"\0\0"),
    "an empty sRGB": png_chunk(b"sRGB", b""),
    "a colour key cut short": png_chunk(b"tRNS", b"\0\0"),
    "an animation of no frames": png_chunk(b"acTL", b"\0"),
    "a frame out of order": png_chunk(b"acTL", b"\0\0\0\2\0\0\0\0") + png_chunk(b"fcTL", b"\0\0\0\7" + bytes(22)),
    "a frame cut short": png_chunk(b"fcTL", b"\0"),
    "a chunk that nobody knows": png_chunk(b"prVt", b"\0" * 100),
}


@pytest.mark.parametrize("what", SIDE_CHUNKS)
@pytest.mark.parametrize("place", ["before", "after"])
def test_no_side_chunk_fails_an_image(what: str, place: str) -> None:
    assert pixels_of(png(COLOURS, 8, 2, **{place: SIDE_CHUNKS[what]})) == COLOURS.tolist()


@pytest.mark.parametrize(
    "kind", [b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"eXIf", b"tRNS"]
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_side_chunk_with_a_wrong_checksum_is_left_out(kind: bytes, place: str) -> None:
    """As libpng leaves it out, with a warning."""
    chunk = png_chunk(kind, bytes(COLOURS[0, 0].astype(">u2")), right=False)
    assert pixels_of(png(COLOURS, 8, 2, **{place: chunk})) == COLOURS.tolist()


def test_a_profile_of_3_MiB_is_used() -> None:
    """sRGB whose red and green have changed places, padded with a tag that no transform reads."""
    profile = bytearray(SRGB)
    count = int.from_bytes(profile[128:132], "big")
    places = {bytes(profile[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    for tag, other in ((b"rXYZ", b"gXYZ"), (b"gXYZ", b"rXYZ")):
        profile[places[tag] : places[tag] + 4] = other
    profile += bytes((3 << 20) - len(profile))
    profile[:4] = len(profile).to_bytes(4, "big")
    chunk = png_chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(profile)))
    red = np.full((1, 1, 3), (250, 0, 0))
    assert pixels_of(png(red, 8, 2, chunk))[0][0][1] > 240


def test_exif_turns_an_image_in_every_chunk_that_carries_it() -> None:
    """In eXIf before or after the pixels, and as the text that came before eXIf; under a wrong checksum in none."""
    exif = Image.Exif()
    exif[0x0112] = 3
    stored = exif.tobytes()
    text = b"\nexif\n%8d\n%s\n" % (len(stored), stored.hex().encode())
    packed = b"Raw profile type exif\0\0" + zlib.compress(text)
    tiff = stored.removeprefix(b"Exif\0\0")
    turned = COLOURS[::-1, ::-1].tolist()
    assert pixels_of(png(COLOURS, 8, 2, before=png_chunk(b"eXIf", tiff))) == turned
    assert pixels_of(png(COLOURS, 8, 2, after=png_chunk(b"eXIf", tiff))) == turned
    assert pixels_of(png(COLOURS, 8, 2, before=png_chunk(b"zTXt", packed))) == turned
    assert pixels_of(png(COLOURS, 8, 2, before=png_chunk(b"eXIf", tiff, right=False))) == COLOURS.tolist()


def test_an_animation_is_its_default_image() -> None:
    other = Image.fromarray(255 - COLOURS)
    for first_is_hidden in (False, True):
        out = io.BytesIO()
        Image.fromarray(COLOURS).save(
            out, "PNG", save_all=True, append_images=[other, other], default_image=first_is_hidden
        )
        assert b"acTL" in out.getvalue()
        assert pixels_of(out.getvalue()) == COLOURS.tolist()


def test_pixels_that_end_early_are_truncated_and_a_missing_end_behind_them_is_not() -> None:
    data = png(COLOURS, 8, 2, before=SIDE_CHUNKS["a broken profile"], after=png_chunk(b"tEXt", b"a\0" + b"x" * 50))
    pixels = data.index(b"IDAT")
    text = data.index(b"tEXt")
    for end in (text - 4, text + 2, text + 20, len(data) - 12, len(data) - 3):
        assert pixels_of(data[:end]) == COLOURS.tolist()
    for end in (45, pixels - 2, pixels + 2, pixels + 20):
        with pytest.raises(BadImage) as caught:
            decode(data[:end], RULES)
        assert caught.value.error_class is ErrorClass.TRUNCATED, end


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE"])
def test_a_wrong_checksum_of_what_decides_the_pixels_is_damage(kind: bytes) -> None:
    data = bytearray(png(np.zeros((1, 1), int), 8, 3, png_chunk(b"PLTE", b"\1\2\3")))
    data[data.index(kind) + 5] ^= 1
    with pytest.raises(BadImage) as caught:
        decode(bytes(data), RULES)
    assert caught.value.error_class is ErrorClass.CORRUPT


def test_pillow_still_says_what_we_read_in_its_place() -> None:
    """The tile's name for 16-bit colour whose low byte comes first, by which low bytes are read."""
    image = PngImagePlugin.PngImageFile(io.BytesIO(png(np.array([[[0x1234, 0x5678, 0x9ABC]]]), 16, 2)))
    assert image.tile[0].args == "RGB;16B"


def test_a_palette_that_is_missing_is_said() -> None:
    with pytest.raises(BadImage, match="palette") as caught:
        decode(png(np.zeros((4, 4), np.uint8), 8, 3), RULES)
    assert caught.value.error_class is ErrorClass.CORRUPT
