"""Images changed in one way each: after some a network should find the original again, others show what it looks at.

Colour: `grey`, `hue`. Texture kept, shape gone: `shuffled`. Silhouette kept, texture replaced: `texture`. Object gone
or scene gone: `centre masked`, `surround masked`. Place and size: `crop`, `flip`, `turned`, `half size`.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from pipelines.gate.copies import changed

COPIES = ("crop", "flip", "blur", "recompressed", "grey")
"""Changes after which a picture is still the same one."""
LOOKS = ("hue", "shuffled", "texture", "centre masked", "surround masked", "half size", "turned")
"""Changes that take away one thing that a network may go by."""
KINDS = (*COPIES, *LOOKS)

_POOR_QUALITY = 30
_PATCHES = 4
"""Patches a side that are shuffled."""
_HUE = 96
"""Of 256 steps round the colour circle: red becomes green."""


def change(image: Image.Image, kind: str, other: Image.Image, seed: int) -> Image.Image:
    """The changed copy of an RGB image. `other` is an image whose texture is taken, `seed` says how patches lie."""
    if kind in ("crop", "flip"):
        return changed(image, kind)
    if kind == "texture":
        return _retextured(image, other)
    if kind == "shuffled":
        return _shuffled(image, seed)
    return _PLAIN[kind](image)


def _blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(max(image.size) / 100))


def _recompressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_POOR_QUALITY)
    return Image.open(file).convert("RGB")


def _other_hue(image: Image.Image) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    moved = hue.point([(step + _HUE) % 256 for step in range(256)])
    return Image.merge("HSV", (moved, saturation, value)).convert("RGB")


def _shuffled(image: Image.Image, seed: int) -> Image.Image:
    side = max(_PATCHES, min(image.size) // _PATCHES * _PATCHES)
    square = ImageOps.fit(image, (side, side))
    step = side // _PATCHES
    places = [(x * step, y * step) for y in range(_PATCHES) for x in range(_PATCHES)]
    out = Image.new("RGB", (side, side))
    for at, place in zip(np.random.default_rng(seed).permutation(len(places)), places, strict=True):
        x, y = places[at]
        out.paste(square.crop((x, y, x + step, y + step)), place)
    return out


def _retextured(image: Image.Image, other: Image.Image) -> Image.Image:
    """The silhouette filled with another image, on even grey."""
    filling = np.asarray(ImageOps.fit(other, image.size))
    pixels = np.where(silhouette(np.asarray(image))[:, :, None], filling, np.uint8(127))
    return Image.fromarray(pixels)


def silhouette(pixels_HWC: np.ndarray) -> np.ndarray:
    """(H, W) bool: where the picture differs in colour from its border, by Otsu's threshold (Otsu 1979, "A threshold
    selection method from gray-level histograms"). An object before an even ground is found so; a landscape is cut in
    two by its colours."""
    pixels = pixels_HWC.astype(np.float32)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    apart = np.linalg.norm(pixels - np.median(border, axis=0), axis=2)
    counts, edges = np.histogram(apart, 64)
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * (edges[:-1] + edges[1:]) / 2)
    means = sums / np.maximum(below, 1), (sums[-1] - sums) / np.maximum(above, 1)
    between = below * above * (means[0] - means[1]) ** 2.0
    inside: np.ndarray = apart > edges[int(between.argmax()) + 1]
    return inside


def _mean_colour(image: Image.Image) -> tuple[int, int, int]:
    red, green, blue = np.asarray(image).reshape(-1, 3).mean(axis=0).round().astype(int).tolist()
    return red, green, blue


def _middle(image: Image.Image) -> tuple[int, int, int, int]:
    """The middle half of each side."""
    across, down = image.width // 4, image.height // 4
    return across, down, max(across + 1, image.width - across), max(down + 1, image.height - down)


def _without_centre(image: Image.Image) -> Image.Image:
    out = image.copy()
    out.paste(_mean_colour(image), _middle(image))
    return out


def _without_surround(image: Image.Image) -> Image.Image:
    box = _middle(image)
    out = Image.new("RGB", image.size, _mean_colour(image))
    out.paste(image.crop(box), box[:2])
    return out


def _half_size(image: Image.Image) -> Image.Image:
    small = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BICUBIC)
    out = Image.new("RGB", image.size, _mean_colour(image))
    out.paste(small, ((image.width - small.width) // 2, (image.height - small.height) // 2))
    return out


_PLAIN: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blur": _blurred,
    "recompressed": _recompressed,
    "grey": lambda image: image.convert("L").convert("RGB"),
    "hue": _other_hue,
    "centre masked": _without_centre,
    "surround masked": _without_surround,
    "half size": _half_size,
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
}
