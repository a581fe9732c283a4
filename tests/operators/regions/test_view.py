"""Boxes between an image and a model's input, on sizes that are cropped, padded and squashed."""

import numpy as np
import pytest

from operators.pixels.preprocess import Preprocess, Resize
from operators.pixels.resize import fit
from operators.regions.view import cells_of_input, shows_nothing, view_of_boxes

SIZES = ((224, 224), (300, 451), (451, 300), (17, 90), (1000, 3))


def preprocess_of(resize: Resize, resized: int = 64) -> Preprocess:
    own = Preprocess.square_pixels(64, resize)
    return own.model_copy(update={"resize_height": resized, "resize_width": resized})


@pytest.mark.parametrize("resize", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resized", [64, 73])
def test_cells_are_where_their_boxes_are(resize: Resize, size: tuple[int, int], resized: int) -> None:
    height, width = size
    preprocess = preprocess_of(resize, resized)
    views, boxes = cells_of_input(3, height, width, preprocess)
    assert 1 <= len(views) == len(boxes) <= 9
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (width, height)).all()
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    again = view_of_boxes(boxes, height, width, preprocess)
    # Padding is in a cell, and not in the box.
    assert (again[:, :2] >= views[:, :2] - 1e-4).all()
    assert (again[:, 2:] <= views[:, 2:] + 1e-4).all()
    if resize != "longest":
        assert len(views) == 9
        assert np.allclose(again, views, atol=1e-4)


def test_a_squashed_image_is_cut_as_the_image_itself_is() -> None:
    views, boxes = cells_of_input(2, 100, 300, preprocess_of("squash"))
    assert np.allclose(boxes, [[0, 0, 150, 50], [150, 0, 300, 50], [0, 50, 150, 100], [150, 50, 300, 100]])
    assert np.allclose(views * 64, [[0, 0, 32, 32], [32, 0, 64, 32], [0, 32, 32, 64], [32, 32, 64, 64]])


def test_a_cropped_image_is_cut_within_the_crop() -> None:
    boxes = cells_of_input(1, 100, 300, preprocess_of("shortest"))[1]
    assert np.allclose(boxes, [[100, 0, 200, 100]])


def test_cells_of_padding_are_left_out() -> None:
    views, boxes = cells_of_input(4, 100, 400, preprocess_of("longest"))
    # 16 rows of 64 show the image, from row 24: the second and third row of cells have half of it each.
    assert np.allclose(views[:, 1], [0.25] * 4 + [0.5] * 4)
    assert np.allclose(boxes[0], [0, 0, 100, 50])
    assert np.allclose(boxes[7], [300, 50, 400, 100])


@pytest.mark.parametrize("resize", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(120, 200), (200, 120)])
def test_a_square_is_seen_where_its_box_is(resize: Resize, size: tuple[int, int]) -> None:
    height, width = size
    image, box = np.zeros((height, width, 3), np.uint8), (50, 60, 90, 100)
    image[60:100, 50:90] = 255
    preprocess = preprocess_of(resize, 70)
    out = np.zeros((64, 64, 3), np.uint8)
    fit(image, preprocess, out)
    lit = np.argwhere(out[:, :, 0] > 127)
    (x0, y0, x1, y1) = view_of_boxes(np.array([box], np.float32), height, width, preprocess)[0] * 64
    assert np.allclose([y0, x0], lit.min(0), atol=0.6)
    assert np.allclose([y1, x1], lit.max(0) + 1, atol=0.6)


def test_what_a_crop_cuts_away_is_nothing() -> None:
    boxes = np.array([[0, 0, 90, 100], [0, 0, 110, 100], [205, 10, 300, 20]], np.float32)
    views = view_of_boxes(boxes, 100, 300, preprocess_of("shortest"))
    assert shows_nothing(views).tolist() == [True, False, True]
    assert np.allclose(views[1], [0, 0, 0.1, 1], atol=1e-6)
