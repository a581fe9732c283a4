"""What each change does to the pixels of an image whose every part is known."""

import numpy as np
import pytest
from PIL import Image

from pipelines.judging.changes import KINDS, change, silhouette

PIXELS = np.full((80, 120, 3), 220, np.uint8)
PIXELS[20:60, 44:80] = (200, 30, 30)
IMAGE, OTHER = Image.fromarray(PIXELS), Image.new("RGB", (50, 90), (10, 160, 20))


def changed(kind: str) -> np.ndarray:
    return np.asarray(change(IMAGE, kind, OTHER, seed=4))


@pytest.mark.parametrize("kind", KINDS)
def test_each_change_gives_another_image_and_the_same_one_each_time(kind: str) -> None:
    found = changed(kind)
    assert found.shape != PIXELS.shape or (found != PIXELS).any()
    assert (found == changed(kind)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (5, 3)])
def test_the_smallest_images_can_be_changed(kind: str, size: tuple[int, int]) -> None:
    assert change(Image.new("RGB", size, (9, 8, 7)), kind, OTHER, seed=0).mode == "RGB"


def test_another_hue_keeps_grey_and_lightness() -> None:
    found = changed("hue")
    assert (found[0, 0] == PIXELS[0, 0]).all()
    assert found[40, 60].argmax() != 0
    assert found[40, 60].max() == 200


def test_shuffled_patches_are_the_same_pixels() -> None:
    plain = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    found = np.asarray(change(plain, "shuffled", OTHER, seed=4))
    assert (np.sort(found.reshape(-1, 3), axis=0) == np.sort(np.asarray(plain).reshape(-1, 3), axis=0)).all()


def test_the_silhouette_is_the_object_and_its_texture_the_others() -> None:
    inside = np.zeros((80, 120), bool)
    inside[20:60, 44:80] = True
    assert (silhouette(PIXELS) == inside).all()
    found = changed("texture")
    assert (found[inside] == (10, 160, 20)).all()
    assert (found[~inside] == 127).all()


def test_what_is_masked_is_gone_and_the_rest_is_there() -> None:
    centre, surround = changed("centre masked"), changed("surround masked")
    assert (centre[0] == PIXELS[0]).all()
    assert (centre[30:50, 45:75] != (200, 30, 30)).any()
    assert (surround[25:55, 45:75] == PIXELS[25:55, 45:75]).all()
    assert (surround[0] != 220).any()


def test_half_the_size_is_in_the_middle_and_a_turn_is_a_quarter() -> None:
    assert (changed("half size")[35:45, 54:68] == (200, 30, 30)).all()
    assert (changed("turned") == np.rot90(PIXELS)).all()
