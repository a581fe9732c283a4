"""As many photographs as are asked for, numbered, cut from those that scikit-image ships; no two are alike."""

import io
from functools import cache, lru_cache
from pathlib import Path

import skimage.data
from PIL import Image

SMALL, USUAL = (80, 60), (500, 375)
"""Width and height: quickly handled, and ImageNet's usual size."""
_CUT = (500, 375)


@lru_cache(maxsize=4096)
def photograph(number: int, size: tuple[int, int] = SMALL) -> bytes:
    """A JPEG of some thousands; two of the same whole are some pixels apart."""
    shipped = _shipped()
    whole, turn = shipped[number % len(shipped)], number // len(shipped)
    across = (whole.width - _CUT[0]) // 5 + 1
    left, top = turn % across * 5, turn // across * 7 % (whole.height - _CUT[1])
    cut = whole.crop((left, top, left + _CUT[0], top + _CUT[1]))
    out = io.BytesIO()
    (cut if size == _CUT else cut.resize(size)).save(out, "JPEG", quality=90)
    return out.getvalue()


@cache
def _shipped() -> list[Image.Image]:
    folder = Path(skimage.data.__file__).parent
    images = [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.*g"))]
    return [image for image in images if image.width > _CUT[0] and image.height > _CUT[1]]
