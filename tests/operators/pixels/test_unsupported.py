"""A good file that no decoder here reads is told from a damaged one."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from made.image_files import lossless_jpeg
from operators.base.errors import BadImage, ErrorClass
from operators.pixels.images import DecodeRules, decode

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def refusal(data: bytes) -> BadImage:
    with pytest.raises(BadImage) as caught:
        decode(data, DecodeRules(max_pixels=1_000_000))
    return caught.value


def heic() -> bytes:
    import pillow_heif

    out = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(NOISE)).save(out, quality=60)
    return out.getvalue()


@pytest.mark.parametrize(("codec", "says"), [(b"vvc1", "VVC"), (b"av01", "AV1"), (b"j2k1", "JPEG 2000")])
def test_heif_of_another_codec_is_named(codec: bytes, says: str) -> None:
    """A file of HEVC whose item says that it is of another codec (ISO 14496-12, infe)."""
    error = refusal(heic().replace(b"hvc1", codec))
    assert error.error_class is ErrorClass.UNSUPPORTED_FORMAT
    assert f"coded as {says}" in str(error)


def test_heif_of_hevc_that_is_damaged_is_corrupt() -> None:
    data = bytearray(heic())
    at = data.index(b"hvcC")
    data[at : at + 4] = b"junk"
    assert refusal(bytes(data)).error_class is ErrorClass.CORRUPT


def test_a_sequence_of_pictures_without_a_still_one_is_named() -> None:
    data = struct.pack(">I", 20) + b"ftypmsf1\0\0\0\0hevc" + struct.pack(">I", 16) + b"moov" + bytes(8)
    error = refusal(data)
    assert (error.error_class, "a sequence of pictures" in str(error)) == (ErrorClass.UNSUPPORTED_FORMAT, True)


@pytest.mark.parametrize(
    ("at", "byte", "says"),
    [(4, 12, "12 bits a sample"), (4, 16, "16 bits a sample"), (9, 2, "2 components")],
)
def test_a_jpeg_whose_frame_is_of_another_kind_is_named(at: int, byte: int, says: str) -> None:
    """Where T.81, B.2.2 has the bits of a sample, and the components; `at` counts from the frame's marker."""
    data = bytearray(lossless_jpeg(NOISE[..., 0], 8))
    data[data.index(b"\xff\xc3") + at] = byte
    error = refusal(bytes(data))
    assert (error.error_class, says in str(error)) == (ErrorClass.UNSUPPORTED_FORMAT, True), str(error)


@pytest.mark.parametrize("kind", ["baseline", "lossless"])
def test_a_jpeg_of_8_bits_that_is_damaged_is_corrupt(kind: str) -> None:
    out = io.BytesIO()
    Image.fromarray(NOISE).save(out, "JPEG")
    data = out.getvalue() if kind == "baseline" else lossless_jpeg(NOISE[..., 0], 8)
    table = data.index(b"\xff\xc4") + 5
    assert refusal(data[:table] + b"\xff" * 16 + data[table + 16 :]).error_class is ErrorClass.CORRUPT
