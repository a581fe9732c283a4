"""Colours said in numbers, by PNG, AVIF and HEIF, against the standards' own values."""

import io
import struct
from itertools import product

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from made.files import with_chunks
from operators.pixels.images import DecodeRules, decode

RULES = DecodeRules(max_pixels=10**6)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3 = (12, 13, 0, 1)

CUBE = np.array(list(product(range(0, 256, 51), repeat=3)), np.uint8).reshape(12, 18, 3)


def png(pixels: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", **options)
    return out.getvalue()


def solid(*colour: int) -> np.ndarray:
    return np.full((16, 16, len(colour)), colour, np.uint8)


def middle(data: bytes, rules: DecodeRules = RULES) -> list[int]:
    pixels = decode(data, rules).pixels
    return pixels[pixels.shape[0] // 2, pixels.shape[1] // 2].tolist()


def by_matrix(pixels: np.ndarray, to_srgb: np.ndarray) -> np.ndarray:
    """By IEC 61966-2-1 and a 3 x 3 matrix, in float64."""
    signal = pixels / 255
    linear = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    light = np.clip(linear @ to_srgb.T, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


FROM_P3 = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])
"""Display P3 to sRGB, as Apple and the CSS Color 4 sample code have it, to four places."""
FROM_BT2020 = np.linalg.inv([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
"""The inverse of the matrix of ITU-R BT.2087, BT.709 to BT.2020."""


@pytest.mark.parametrize(("primaries", "matrix"), [(12, FROM_P3), (9, FROM_BT2020)], ids=["P3", "BT.2020"])
@pytest.mark.parametrize("transfer", [13, 1, 2])
def test_png_with_other_primaries_is_brought_to_srgb(primaries: int, matrix: np.ndarray, transfer: int) -> None:
    data = with_chunks(png(CUBE), cICP=bytes([primaries, transfer, 0, 1]))
    difference = np.abs(decode(data, RULES).pixels - by_matrix(CUBE, matrix))
    assert difference.max() < 2.5
    np.testing.assert_array_equal(decode(data, DecodeRules(max_pixels=10**6, colour="ignore")).pixels, CUBE)


@pytest.mark.parametrize("codes", [(1, 13, 0, 1), (1, 1, 0, 1), (2, 2, 0, 1), (1, 6, 0, 1), (1, 15, 0, 1)])
def test_srgb_and_what_is_shown_like_it_stay_as_they_are(codes: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(decode(with_chunks(png(CUBE), cICP=bytes(codes)), RULES).pixels, CUBE)


def test_the_narrow_range_of_a_png_is_stretched() -> None:
    levels = np.array([[0, 16, 126, 235, 255]], np.uint8)
    got = decode(with_chunks(png(np.stack([levels] * 3, axis=-1)), cICP=bytes([1, 13, 0, 0])), RULES).pixels
    np.testing.assert_allclose(got[0, :, 1], [0, 0, 128, 255, 255], atol=1)


@pytest.mark.parametrize("make", ["avif", "heic"])
def test_nclx_of_avif_and_heic_is_followed(make: str) -> None:
    """CSS Color 4: color(display-p3 0.9175 0.2003 0.1386) is #f00."""
    data = _avif(solid(234, 51, 35), 12, 13) if make == "avif" else _heic(solid(234, 51, 35), 12, 13)
    np.testing.assert_allclose(middle(data), [255, 0, 0], atol=6)  # both are lossy
    assert middle(data, DecodeRules(max_pixels=10**6, colour="ignore"))[1] > 40
    plain = _avif(solid(234, 51, 35), 1, 13) if make == "avif" else _heic(solid(234, 51, 35), 1, 13)
    np.testing.assert_allclose(middle(plain), [234, 51, 35], atol=6)


def test_a_profile_goes_before_nclx() -> None:
    out = io.BytesIO()
    Image.fromarray(solid(234, 51, 35)).save(out, "AVIF", quality=95, icc_profile=SRGB)
    assert out.getvalue().count(b"colr") == 2
    np.testing.assert_allclose(middle(_coded(out.getvalue(), 12, 13)), [234, 51, 35], atol=6)


def _avif(pixels: np.ndarray, primaries: int, transfer: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "AVIF", quality=95)
    return _coded(out.getvalue(), primaries, transfer)


def _coded(avif: bytes, primaries: int, transfer: int) -> bytes:
    """With other code points than those that Pillow writes (1, 13)."""
    at = avif.index(b"nclx") + 4
    return avif[:at] + struct.pack(">HH", primaries, transfer) + avif[at + 4 :]


def _heic(pixels: np.ndarray, primaries: int, transfer: int) -> bytes:
    out = io.BytesIO()
    codes = {"color_primaries": primaries, "transfer_characteristics": transfer}
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(
        out, quality=95, chroma=444, matrix_coefficients=6, full_range_flag=1, **codes
    )
    return out.getvalue()


@pytest.mark.parametrize(("codes", "signal"), [((9, 16, 0, 1), 0.38), ((9, 18, 0, 1), 0.38)], ids=["PQ", "HLG"])
def test_mid_grey_of_hdr_is_mid_grey(codes: tuple[int, ...], signal: float) -> None:
    """ITU-R BT.2408, table 1: a grey card of 18% is 26 cd/m2 of a white of 203, and 38% of both signals."""
    grey = with_chunks(png(solid(*[round(255 * signal)] * 3)), cICP=bytes(codes))
    expected = 255 * (1.055 * (26 / 203) ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(middle(grey), [expected] * 3, atol=3)


def test_hdr_white_and_highlights_are_told_apart_and_keep_their_order() -> None:
    """BT.2408, table 1: diffuse white is 58% PQ and 75% HLG; BT.2100: 1,000 cd/m2 are 75% PQ and all of HLG."""
    for transfer, white, peak in ((16, 148, 192), (18, 191, 255)):
        levels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
        got = decode(with_chunks(png(levels), cICP=bytes([9, transfer, 0, 1])), RULES).pixels[0, :, 0].astype(int)
        assert got[0] == 0
        assert 220 < got[white] < 240
        assert got[white] < got[(white + peak) // 2] < 255
        assert got[peak] >= 254
        assert (np.diff(got) >= 0).all()


@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8, 1 / 2.6])
def test_gama_of_a_png_is_followed(gamma: float) -> None:
    """The PNG specification: light is the sample to the power of 1 / gamma."""
    levels = np.arange(256, dtype=np.uint8)
    expected = (levels / 255) ** (1 / gamma)
    expected = 255 * np.where(expected <= 0.0031308, 12.92 * expected, 1.055 * expected ** (1 / 2.4) - 0.055)
    chunk = struct.pack(">I", round(gamma * 100_000))
    colour = decode(with_chunks(png(np.stack([levels[None]] * 3, axis=-1)), gAMA=chunk), RULES).pixels
    grey = decode(with_chunks(png(levels[None]), gAMA=chunk), RULES).pixels
    with_alpha = np.stack([levels, np.full(256, 255, np.uint8)], axis=-1)[None]
    for got in (colour, grey, decode(with_chunks(png(with_alpha), gAMA=chunk), RULES).pixels):
        np.testing.assert_allclose(got[0], np.stack([expected] * 3, axis=-1), atol=1)


def _chrm(*xy: float) -> bytes:
    """White, red, green, blue."""
    return struct.pack(">8I", *(round(value * 100_000) for value in xy))


SRGB_CHRM = _chrm(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
P3_CHRM = _chrm(0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
ADOBE_CHRM = _chrm(0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)


def test_chrm_of_a_png_is_followed() -> None:
    got = decode(with_chunks(png(CUBE), cHRM=P3_CHRM), RULES).pixels
    assert np.abs(got - by_matrix(CUBE, FROM_P3)).max() < 2.5


def test_adobe_rgb_by_gama_and_chrm() -> None:
    """Adobe RGB (1998), 4.3.4: linear to XYZ; sRGB's own inverse from IEC 61966-2-1."""
    to_xyz = [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]]
    from_xyz = [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
    light = np.clip((CUBE / 255) ** 2.2 @ (np.array(from_xyz) @ to_xyz).T, 0, 1)
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    got = decode(with_chunks(png(CUBE), gAMA=struct.pack(">I", 45455), cHRM=ADOBE_CHRM), RULES).pixels
    assert np.abs(got - expected).max() < 4  # where the matrix gives nothing, rounding of its digits is levels
    assert np.abs(got - expected).mean() < 0.5


@pytest.mark.parametrize(
    "chunks",
    [
        {"gAMA": struct.pack(">I", 45455)},
        {"gAMA": struct.pack(">I", 45455), "cHRM": SRGB_CHRM},
        {"gAMA": struct.pack(">I", 100_000), "cHRM": P3_CHRM, "sRGB": b"\0"},
        {"gAMA": struct.pack(">I", 0)},
        {"gAMA": struct.pack(">I", 2**32 - 1)},
        {"cHRM": bytes(32)},
        {"cHRM": _chrm(*[0.3] * 8)},
        {"cHRM": struct.pack(">8I", *[2**32 - 1] * 8)},
        {"cICP": bytes([12, 13, 1, 1])},
        {"cICP": bytes([12, 13, 0, 7])},
    ],
    ids=[
        "sRGB's gamma",
        "and primaries",
        "sRGB wins",
        "0",
        "huge",
        "no light",
        "one colour",
        "nowhere",
        "matrix",
        "range",
    ],
)
def test_pngs_that_are_srgb_or_say_nothing_of_use_stay_as_they_are(chunks: dict[str, bytes]) -> None:
    np.testing.assert_array_equal(decode(with_chunks(png(CUBE), **chunks), RULES).pixels, CUBE)


def test_of_several_descriptions_the_png_specification_orders_them() -> None:
    """Third edition, 4.3: cICP, then iCCP, then sRGB, then gAMA and cHRM."""
    with_profile = png(CUBE, icc_profile=SRGB)
    linear = {"gAMA": struct.pack(">I", 100_000)}
    np.testing.assert_array_equal(decode(with_chunks(with_profile, **linear), RULES).pixels, CUBE)
    by_cicp = decode(with_chunks(with_profile, cICP=bytes(P3), sRGB=b"\0", **linear), RULES).pixels
    assert np.abs(by_cicp - by_matrix(CUBE, FROM_P3)).max() < 2.5
