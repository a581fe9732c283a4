"""A JPEG without its last marker: taken where every block of every scan is there, refused where one is not."""

import io
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageCms

from operators.base.errors import BadImage, ErrorClass
from operators.pixels.images import DecodeRules, decode
from operators.pixels.jpeg.blocks import has_all_scans

RULES = DecodeRules(max_pixels=1_000_000)
PHOTO = Image.fromarray(skimage.data.astronaut()).resize((90, 60))
END = b"\xff\xd9"
EXIF = Image.Exif()
EXIF[0x0112] = 6


def swapped_profile() -> bytes:
    """sRGB with red and green changing places, so that pixels must be converted."""
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return icc.replace(b"rXYZ", b"----").replace(b"gXYZ", b"rXYZ").replace(b"----", b"gXYZ")


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "colour": ("RGB", {}),
    "grey": ("L", {}),
    "CMYK": ("CMYK", {}),
    "colour turned by EXIF": ("RGB", {"exif": EXIF}),
    "colour with a profile": ("RGB", {"icc_profile": swapped_profile()}),
    "colour with restarts": ("RGB", {"restart_marker_rows": 1}),
    "CMYK with restarts": ("CMYK", {"restart_marker_blocks": 2}),
    "progressive colour": ("RGB", {"progressive": True}),
    "progressive grey": ("L", {"progressive": True}),
    "progressive CMYK": ("CMYK", {"progressive": True}),
    "CMYK, its first channel alone whole": ("CMYK", {"subsampling": "4:2:0"}),
    "such CMYK with restarts": ("CMYK", {"subsampling": "4:2:0", "restart_marker_blocks": 2}),
    "progressive CMYK of that kind": ("CMYK", {"subsampling": "4:2:0", "progressive": True}),
    "progressive with a profile": ("RGB", {"progressive": True, "icc_profile": swapped_profile()}),
}


def made(kind: str) -> bytes:
    mode, options = KINDS[kind]
    out = io.BytesIO()
    image = Image.merge("CMYK", (*PHOTO.split(), PHOTO.convert("L"))) if mode == "CMYK" else PHOTO.convert(mode)
    image.save(out, "JPEG", **options)
    return out.getvalue()


def pixels_of(data: bytes, rules: DecodeRules = RULES) -> np.ndarray:
    return decode(data, rules).pixels


def refusal(data: bytes) -> ErrorClass:
    with pytest.raises(BadImage) as caught:
        decode(data, RULES)
    return caught.value.error_class


@pytest.mark.parametrize("kind", KINDS)
def test_without_its_last_marker_the_pixels_are_the_same(kind: str) -> None:
    """Left out whole or by half, or zeros or ones in its place, as file systems leave them."""
    data = made(kind)
    whole = pixels_of(data)
    for end in (b"", b"\xff", bytes(1), bytes(4096), b"\xff" * 64):
        np.testing.assert_array_equal(pixels_of(data[:-2] + end), whole)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [b"", END, b"\xff", bytes(4096)])
def test_with_blocks_missing_it_is_refused_whatever_stands_at_its_end(kind: str, end: bytes) -> None:
    data = made(kind)
    scan = data.rindex(b"\xff\xda")
    ends = (len(data) - 3, len(data) - 12, (len(data) + scan) // 2)
    for at in ends if end != bytes(4096) else ends[2:]:
        assert refusal(data[:at] + end) is ErrorClass.TRUNCATED, at


@pytest.mark.parametrize("kind", ["colour with restarts", "CMYK with restarts", "such CMYK with restarts"])
def test_cut_off_at_a_restart_it_is_refused(kind: str) -> None:
    """There the data of no segment ends early; blocks are missing all the same."""
    data = made(kind)
    at = data.rindex(b"\xff\xd0")
    for end in (b"", END):
        for restart in (b"", data[at : at + 2]):
            assert refusal(data[:at] + restart + end) is ErrorClass.TRUNCATED


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("progressive")])
def test_cut_off_between_two_scans_a_progressive_file_is_refused(kind: str) -> None:
    """Every block is there in part, and an end put to it makes a whole file of the first scans."""
    data = made(kind)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    tables = [data.rindex(b"\xff\xc4", 0, scan) for scan in scans[1:]]
    assert len(tables) > 3
    for at in tables:
        assert not has_all_scans(data[:at])
        assert refusal(data[:at]) is ErrorClass.TRUNCATED


def test_scans_are_counted_by_component_in_a_file_of_one_scan_each() -> None:
    """A header of three components at one scan each (T.81, B.2.3), coded data left out."""
    frame = b"\xff\xd8\xff\xc0\x00\x11\x08\0\x08\0\x08\x03\x01\x11\0\x02\x11\0\x03\x11\0"
    scans = [
        b"\xff\xda\x00\x08\x01" + bytes([component]) + b"\0\0\x3f\0" + b"\x12\xff\x00\x34" for component in (1, 2, 3)
    ]
    assert has_all_scans(frame + b"".join(scans))
    assert not has_all_scans(frame + b"".join(scans[:2]))
    assert not has_all_scans(frame)
    assert not has_all_scans(b"")


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize("transform", [0, 2, None])
def test_cmyk_and_ycck_are_read_as_pillow_reads_them(subsampling: str, transform: int | None) -> None:
    """Adobe's marker says 0 for CMYK and 2 for YCCK; without it the file is CMYK."""
    out = io.BytesIO()
    PHOTO.convert("CMYK").save(out, "JPEG", subsampling=subsampling, quality=92)
    data = out.getvalue()
    at = data.index(b"\xff\xee")
    adobe = data[at : at + 16]
    data = data.replace(adobe, b"" if transform is None else adobe[:-1] + bytes([transform]))
    want = Image.open(io.BytesIO(data)).convert("RGB")
    np.testing.assert_array_equal(pixels_of(data), np.asarray(want))


def test_a_profile_is_applied_to_the_same_samples_as_pillows() -> None:
    data = made("colour with a profile")
    image = Image.open(io.BytesIO(data))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(swapped_profile()))
    want = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"))
    assert want is not None
    np.testing.assert_array_equal(pixels_of(data), np.asarray(want))


def test_truncated_files_are_still_read_where_that_is_allowed() -> None:
    lenient = DecodeRules(max_pixels=10**6, allow_truncated=True)
    for kind in ("colour", "grey", "CMYK", "progressive colour"):
        data = made(kind)
        assert pixels_of(data[: len(data) * 2 // 3], lenient).shape == (60, 90, 3)
