"""Every combination of a TIFF's tags gives the colours that TIFF 6.0 says, or is refused by name.

The values are worked out here from the specification. libvips 8.18.7 gives the same (tried on 2026-11-29) of grey and
palettes up to 16 bits and RGB of 8 and 16, planar or not and of either byte order; it reads no 10 and 12 bits.
"""

from itertools import product
from typing import Any

import numpy as np
import pytest

from made.tiffs import tiff
from operators.base.errors import BadImage, ErrorClass
from operators.pixels.images import DecodeRules, decode

RULES = DecodeRules(max_pixels=1_000_000)
HEIGHT, WIDTH = 7, 13
KINDS = {
    "white is zero": (0, ()),
    "black is zero": (1, ()),
    "grey and a sample unspecified": (1, (0,)),
    "grey and premultiplied alpha": (1, (1,)),
    "grey and alpha": (1, (2,)),
    "white is zero, and alpha": (0, (2,)),
    "RGB": (2, ()),
    "RGB and a sample unspecified": (2, (0,)),
    "RGB and premultiplied alpha": (2, (1,)),
    "RGB and alpha": (2, (2,)),
    "RGB, a sample unspecified, and alpha": (2, (0, 2)),
    "CMYK": (5, ()),
    "CMYK and a sample unspecified": (5, (0,)),
}
CHANNELS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3, 9: 3}
LAYOUTS = list(product("<>", (False, True), (1, 2), (1, 5), ({}, {"rows": 3}, {"tile": (16, 16)}), (1, 2)))
"""Byte order, BigTIFF, planar configuration, compression, strips or tiles, fill order."""


def layout(order: str, big: bool, planar: int, compression: int, chunks: dict[str, Any], fill: int) -> dict[str, Any]:
    options = {"planar": planar, "compression": compression, "fill_order": fill, "order": order, "big": big}
    return options | chunks


def ramps(samples: int, bits: int) -> np.ndarray:
    """(height, width, samples): each sample runs from 0 to its highest in another direction."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    slopes = [(at + 1, 3 - at % 3) for at in range(samples)]
    top = (1 << bits) - 1
    return np.stack([(x * a + y * b) * top // (a * (WIDTH - 1) + b * (HEIGHT - 1)) for a, b in slopes], axis=-1)


def right(samples: np.ndarray, bits: int, photometric: int, extra: tuple[int, ...]) -> np.ndarray:
    """What TIFF 6.0 says of samples, in levels of 255, on white."""
    levels = samples / ((1 << bits) - 1) * 255
    colours = levels[..., : CHANNELS[photometric]]
    if photometric == 0:
        colours = 255 - colours
    if photometric == 5:
        colours = (255 - colours[..., :3]) * (255 - colours[..., 3:]) / 255
    if colours.shape[2] == 1:
        colours = np.repeat(colours, 3, axis=2)
    alphas = [at for at, kind in enumerate(extra, CHANNELS[photometric]) if kind]
    if not alphas:
        return colours
    alpha = levels[..., alphas[0], None] / 255
    front = colours if extra[-1] == 1 else colours * alpha
    return np.minimum(255, front + 255 * (1 - alpha))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8, 10, 12, 16])
def test_grey_rgb_and_cmyk_of_any_depth_and_layout(kind: str, bits: int) -> None:
    photometric, extra = KINDS[kind]
    samples = ramps(CHANNELS[photometric] + len(extra), bits)
    expected = right(samples, bits, photometric, extra)
    for order, big, planar, compression, chunks, fill in LAYOUTS:
        if bits not in (1, 2, 4, 8) and fill == 2:
            continue
        options = layout(order, big, planar, compression, chunks, fill)
        data = tiff(samples, photometric=photometric, extra=extra or None, bits=bits, **options)
        off = np.abs(decode(data, RULES).pixels - expected)
        assert off.max() < 3, options


@pytest.mark.parametrize("extra", [(), (0,), (2,)])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes(bits: int, extra: tuple[int, ...]) -> None:
    count = 1 << bits
    levels = np.arange(count) * 255 // (count - 1)
    palette = np.stack([levels, 255 - levels, levels // 2 + 60], axis=-1)
    samples = ramps(1 + len(extra), bits)
    expected = palette[samples[..., 0]].astype(float)
    if extra == (2,):
        alpha = samples[..., 1:] / (count - 1)
        expected = expected * alpha + 255 * (1 - alpha)
    for (order, big, planar, compression, chunks, fill), wide in product(LAYOUTS, (257, 1)):
        tags = {320: (3, (palette.T * wide).ravel().tolist())}  # old programs wrote 8 bits where 16 belong
        options = layout(order, big, planar, compression, chunks, fill)
        data = tiff(samples, photometric=3, extra=extra or None, bits=bits, tags=tags, **options)
        assert np.abs(decode(data, RULES).pixels - expected).max() < 2, (wide, options)


LAB = np.array([[[255, 0, 0], [0, 0, 0], [137, 0, 0], [139, 50, 30], [180, -50, 40], [110, 10, -40], [148, -15, -18]]])
"""L* in 255ths of 100, a*, b*: colours that sRGB has."""


def lab_to_srgb(lab: np.ndarray) -> np.ndarray:
    """CIE 15 (Lab to XYZ, white D50), the linear Bradford adaptation to D65 and IEC 61966-2-1 (sRGB)."""
    y = (lab[..., 0] / 255 * 100 + 16) / 116
    cubed = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    ratio = np.where(cubed > 6 / 29, cubed**3, 3 * (6 / 29) ** 2 * (cubed - 4 / 29))
    to_rgb = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    linear = np.clip(ratio * [0.96422, 1, 0.82521] @ np.array(to_rgb).T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("photometric", [8, 9])
def test_lab(photometric: int, bits: int) -> None:
    """CIELab has a* and b* signed, ICCLab from -128 up; of 16 bits, they count in 256ths."""
    expected = lab_to_srgb(LAB)
    stored = LAB if photometric == 8 else LAB + np.array([0, 128, 128])
    if bits == 16:
        stored = np.stack([stored[..., 0] * 257, stored[..., 1] * 256, stored[..., 2] * 256], axis=-1)
    for order, big, planar, compression in product("<>", (False, True), (1, 2), (1, 5)):
        options = {"planar": planar, "compression": compression, "order": order, "big": big}
        data = tiff(stored, photometric=photometric, bits=bits, **options)
        assert np.abs(decode(data, RULES).pixels - expected).max() < 3, options


def test_a_fourth_sample_beside_rgb_that_no_tag_explains_is_alpha() -> None:
    """As Pillow, GDAL and libvips take it; planar or not."""
    for bits, order, planar, compression in product((8, 16), "<>", (1, 2), (1, 5)):
        samples = ramps(4, bits)
        data = tiff(samples, photometric=2, bits=bits, order=order, planar=planar, compression=compression)
        assert np.abs(decode(data, RULES).pixels - right(samples, bits, 2, (2,))).max() < 3


def test_samples_of_format_undefined_are_unsigned() -> None:
    """TIFF 6.0 on SampleFormat 4: a reader would treat them as if the field were not there."""
    for bits in (8, 16):
        samples = ramps(3, bits)
        data = tiff(samples, photometric=2, bits=bits, sample_format=4)
        assert np.abs(decode(data, RULES).pixels - right(samples, bits, 2, ())).max() < 2


GREY = ramps(1, 8)
REFUSED = {
    "signed": ({"sample_format": 2, "bits": 16}, "signed samples"),
    "signed bytes": ({"sample_format": 2}, "signed samples"),
    "floating-point": ({"sample_format": 3, "bits": 32}, "floating-point samples"),
    "complex": ({"sample_format": 6, "bits": 32}, "complex samples"),
    "32 bits": ({"bits": 32}, "32-bit samples"),
    "24 bits": ({"bits": 24}, "24-bit samples"),
    "LogL": ({"photometric": 32844, "bits": 16}, "CIE Log2(L)"),
    "a mask": ({"photometric": 4, "bits": 1}, "a transparency mask"),
    "without photometric": ({"photometric": None}, "no PhotometricInterpretation"),
    "unknown": ({"photometric": 77}, "PhotometricInterpretation 77"),
    "voxels": ({"tags": {32997: (3, [2])}}, "depth"),
    "JBIG": ({"compression": 34661, "encode": bytes}, "compression 34661 (JBIG)"),
    "unheard of": ({"compression": 4711, "encode": bytes}, "compression 4711"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_read_is_said(case: str) -> None:
    options, words = REFUSED[case]
    refused(tiff(GREY, **{"photometric": 1, **options}), words)


def test_channels_that_no_tag_explains_are_no_picture() -> None:
    for planar, compression in product((1, 2), (1, 5)):
        data = tiff(ramps(4, 8), photometric=1, extra=(0, 0, 0), planar=planar, compression=compression)
        refused(data, "4 channels, and no tag says which are colours")


def test_inks_and_cmyk_with_alpha_are_refused() -> None:
    refused(tiff(ramps(4, 8), photometric=5, tags={332: (3, [2])}), "other inks")
    refused(tiff(ramps(5, 8), photometric=5, extra=(2,)), "CMYK with alpha")


def test_samples_of_several_depths_are_refused() -> None:
    refused(tiff(ramps(3, 5), photometric=2, bits=(5, 6, 5)), "samples of 5, 6, 5 bits")


def refused(data: bytes, words: str) -> None:
    with pytest.raises(BadImage) as caught:
        decode(data, RULES)
    assert caught.value.error_class is ErrorClass.UNSUPPORTED_FORMAT
    assert words in str(caught.value)
