"""JPEGs decoded smaller than they are: what a model is given of them lies where it lay, whichever way they turn."""

import io
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageCms

from operators.base.errors import BadImage, ErrorClass
from operators.models.null import PREPROCESS
from operators.pixels.images import Decoded, DecodeRules, decode
from operators.pixels.jpeg.blocks import samples
from operators.pixels.resize import fit, fit_shrunk
from operators.pixels.upright import TURNS

WHOLE = DecodeRules(max_pixels=10**7)
SHRUNK = DecodeRules(max_pixels=10**7, shrink_for=(PREPROCESS,))
# Neither side a multiple of two, four or eight: the last pixel of each is only partly of the image.
PHOTO = Image.fromarray(skimage.data.retina()).crop((0, 200, 1411, 1203))


def jpeg(image: Image.Image = PHOTO, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90, **options)
    return out.getvalue()


def turned(orientation: int) -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif}


def seen(decoded: Decoded) -> np.ndarray:
    """(224, 224, 3): what a model is given."""
    out = np.empty((224, 224, 3), np.uint8)
    if decoded.extent is None:
        fit(decoded.pixels, PREPROCESS, out)
    else:
        fit_shrunk(decoded.pixels, PREPROCESS, out, size=(decoded.height, decoded.width), extent=decoded.extent)
    return out


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FILES = {
    "plain": jpeg(),
    "progressive": jpeg(progressive=True),
    "grey": jpeg(PHOTO.convert("L")),
    "CMYK": jpeg(PHOTO.convert("CMYK")),
    # Red and green change places, so that pixels are converted.
    "of a profile": jpeg(
        icc_profile=PROFILE.replace(b"rXYZ", b"----").replace(b"gXYZ", b"rXYZ").replace(b"----", b"gXYZ")
    ),
    **{f"turned by {orientation}": jpeg(**turned(orientation)) for orientation in (1, *TURNS)},
}


@pytest.mark.parametrize("kind", FILES)
def test_what_a_model_is_given_is_as_of_the_whole_image(kind: str) -> None:
    whole, shrunk = (decode(FILES[kind], rules) for rules in (WHOLE, SHRUNK))
    assert (shrunk.height, shrunk.width) == (whole.height, whole.width) == whole.pixels.shape[:2]
    assert shrunk.pixels.nbytes < whole.pixels.nbytes / 3
    assert min(shrunk.pixels.shape[:2]) >= 2 * 224
    # Half a pixel to one side gives 44 to 47 dB.
    assert psnr(seen(whole), seen(shrunk)) > 54


def test_an_image_that_is_no_larger_than_is_wanted_stays_as_it_is() -> None:
    data = jpeg(PHOTO.resize((900, 800)))
    decoded = decode(data, SHRUNK)
    assert decoded.extent is None
    assert np.array_equal(decoded.pixels, decode(data, WHOLE).pixels)


def test_the_larger_of_two_models_decides() -> None:
    larger = PREPROCESS.model_copy(update={"height": 448, "width": 448, "resize_height": 448, "resize_width": 448})
    both = DecodeRules(max_pixels=10**7, shrink_for=(PREPROCESS, larger))
    assert decode(FILES["plain"], both).extent is None


def test_damage_that_libjpeg_would_paint_over_is_left_to_pillow_in_full_size() -> None:
    data = FILES["plain"]
    middle = len(data) // 2
    damaged = data[:middle] + bytes(range(100, 140)) + data[middle:]
    assert samples(damaged, "RGB") is None
    decoded = decode(damaged, SHRUNK)
    assert decoded.extent is None
    assert np.array_equal(decoded.pixels, decode(damaged, WHOLE).pixels)


@pytest.mark.parametrize("kind", ["plain", "progressive", "turned by 6"])
def test_a_file_that_ends_early_fails_as_ever(kind: str) -> None:
    with pytest.raises(BadImage) as caught:
        decode(FILES[kind][:-5000], SHRUNK)
    assert caught.value.error_class is ErrorClass.TRUNCATED


def test_other_formats_and_truncated_images_that_are_allowed_are_decoded_whole() -> None:
    png = io.BytesIO()
    PHOTO.save(png, "PNG")
    assert decode(png.getvalue(), SHRUNK).extent is None
    allowed = DecodeRules(max_pixels=10**7, shrink_for=(PREPROCESS,), allow_truncated=True)
    for kind in ("plain", "turned by 6"):
        assert decode(FILES[kind], allowed).extent is None
