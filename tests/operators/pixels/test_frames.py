"""A first frame smaller than its canvas leaves the rest unpainted: white, as what is transparent is."""

import io

import numpy as np
import pytest
from PIL import Image

from made.image_files import animated_webp, gif
from operators.pixels.images import DecodeRules, decode

RULES = DecodeRules(max_pixels=1_000_000)
PALETTE = bytes([200, 0, 0, 0, 200, 0, 0, 0, 200, 10, 10, 10])
"""Red, green, blue, nearly black; frames are painted in green."""
GREEN, WHITE = [0, 200, 0], [255, 255, 255]


def expected(canvas: tuple[int, int], frame: tuple[int, int, int, int], colour: list[int]) -> np.ndarray:
    left, top, width, height = frame
    pixels = np.full((canvas[1], canvas[0], 3), 255, np.uint8)
    pixels[top : top + height, left : left + width] = colour
    return pixels


@pytest.mark.parametrize("frame", [(2, 1, 3, 2), (0, 0, 8, 5), (5, 4, 3, 1), (0, 0, 1, 1)])
@pytest.mark.parametrize("background", [0, 1, 3])
def test_outside_the_first_frame_of_a_gif_is_white_whatever_the_background_index(
    frame: tuple[int, int, int, int], background: int
) -> None:
    """Browsers take what no frame has painted for transparent, and never paint the background index."""
    got = decode(gif((8, 6), frame, PALETTE, background), RULES).pixels
    np.testing.assert_array_equal(got, expected((8, 6), frame, GREEN))


def test_a_gif_whose_frame_is_its_canvas_is_that_frame() -> None:
    np.testing.assert_array_equal(
        decode(gif((8, 6), (0, 0, 8, 6), PALETTE), RULES).pixels, expected((8, 6), (0, 0, 8, 6), GREEN)
    )


def test_a_gif_whose_frame_reaches_beyond_its_canvas_is_as_large_as_both() -> None:
    got = decode(gif((4, 4), (2, 2, 4, 4), PALETTE), RULES).pixels
    np.testing.assert_array_equal(got, expected((6, 6), (2, 2, 4, 4), GREEN))


def test_a_gif_with_a_transparent_index_is_as_it_was() -> None:
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette(PALETTE)
    picture.putpixel((0, 0), 0)
    out = io.BytesIO()
    picture.save(out, "GIF", transparency=0)
    want = expected((4, 4), (0, 0, 4, 4), GREEN)
    want[0, 0] = 255
    np.testing.assert_array_equal(decode(out.getvalue(), RULES).pixels, want)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("frame", [(4, 2, 6, 5), (0, 0, 16, 8), (0, 0, 15, 12), (14, 10, 2, 2)])
def test_outside_the_first_frame_of_a_webp_is_white_with_the_alpha_flag_and_without(
    frame: tuple[int, int, int, int], lossless: bool, alpha: bool
) -> None:
    out = io.BytesIO()
    Image.new("RGB", frame[2:], (40, 90, 200)).save(out, "WEBP", lossless=lossless, quality=100)
    got = decode(animated_webp((16, 12), frame, out.getvalue(), alpha=alpha), RULES).pixels.astype(int)
    want = expected((16, 12), frame, [40, 90, 200])
    assert np.abs(got - want).max() <= (0 if lossless else 4)
    outside = np.ones(want.shape[:2], bool)
    outside[frame[1] : frame[1] + frame[3], frame[0] : frame[0] + frame[2]] = False
    assert (got[outside] == 255).all()


def test_a_still_webp_and_an_animation_of_whole_frames_are_as_they_were() -> None:
    frames = [Image.new("RGB", (16, 12), colour) for colour in ((40, 90, 200), (1, 2, 3))]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert (decode(out.getvalue(), RULES).pixels == (40, 90, 200)).all()
