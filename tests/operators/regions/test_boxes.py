"""Grid cells and tiles: by hand, and as properties of every size of image."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.base.errors import ErrorClass
from operators.regions.boxes import BadRegions, Regions, cut_regions, finished, grid_boxes, pixel_box, tile_boxes
from operators.regions.options import GridOptions, TilesOptions

SIDE = st.integers(1, 3000)
OVERLAP = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9])


def grid(**options: object) -> GridOptions:
    return GridOptions.model_validate({"kind": "grid", "rows": 2, "columns": 2, **options})


def tiles(*sizes: int, **options: object) -> TilesOptions:
    return TilesOptions.model_validate({"kind": "tiles", "sizes": sizes, **options})


def test_grid_cells_row_by_row() -> None:
    assert grid_boxes(90, 40, 2, 3, 0.0).tolist() == [
        [0, 0, 30, 20],
        [30, 0, 60, 20],
        [60, 0, 90, 20],
        [0, 20, 30, 40],
        [30, 20, 60, 40],
        [60, 20, 90, 40],
    ]


def test_overlapping_cells_share_the_fraction_of_their_side() -> None:
    """Three cells of side s at half overlap cover s + s / 2 + s / 2: s is half of the width."""
    assert grid_boxes(80, 10, 1, 3, 0.5).tolist() == [[0, 0, 40, 10], [20, 0, 60, 10], [40, 0, 80, 10]]


@given(SIDE, SIDE, st.integers(1, 8), st.integers(1, 8), OVERLAP)
def test_cells_are_of_one_size_and_cover_the_image(w: int, h: int, rows: int, columns: int, overlap: float) -> None:
    boxes = grid_boxes(w, h, rows, columns, overlap)
    assert boxes.shape == (rows * columns, 4)
    assert boxes.dtype == np.float32
    sizes = boxes[:, 2:] - boxes[:, :2]
    assert np.allclose(sizes, sizes[0], rtol=1e-3)
    assert boxes.min(0)[:2].tolist() == [0, 0]
    assert np.allclose(boxes.max(0)[2:], [w, h], rtol=1e-6)
    by_row = boxes.reshape(rows, columns, 4)
    shared = by_row[:, :-1, 2] - by_row[:, 1:, 0]
    assert np.allclose(shared, overlap * sizes[0, 0], atol=1e-3 * w)
    touched = [pixel_box(box, w, h) for box in boxes.tolist()]
    assert all(0 <= x0 < x1 <= w and 0 <= y0 < y1 <= h for x0, y0, x1, y1 in touched)


def test_tiles_at_the_edges_are_moved_inward() -> None:
    assert tile_boxes(100, 40, [40], 0.0, 64).tolist() == [[0, 0, 40, 40], [40, 0, 80, 40], [60, 0, 100, 40]]
    assert tile_boxes(80, 80, [40], 0.5, 64)[:3].tolist() == [[0, 0, 40, 40], [20, 0, 60, 40], [40, 0, 80, 40]]
    assert len(tile_boxes(80, 80, [40], 0.5, 64)) == 9


def test_an_image_smaller_than_a_tile_is_one_tile() -> None:
    assert tile_boxes(30, 20, [40], 0.0, 64).tolist() == [[0, 0, 30, 20]]
    assert tile_boxes(30, 90, [40], 0.0, 64).tolist() == [[0, 0, 30, 40], [0, 40, 30, 80], [0, 50, 30, 90]]


def test_several_scales_follow_each_other_and_none_comes_twice() -> None:
    boxes = tile_boxes(60, 40, [20, 40, 100, 200], 0.0, 64)
    assert len(boxes) == 6 + 2 + 1
    assert boxes[6:].tolist() == [[0, 0, 40, 40], [20, 0, 60, 40], [0, 0, 60, 40]]
    with_whole = cut_regions(tiles(100, whole=True), 60, 40)
    assert with_whole.kinds == ["whole"]


@given(SIDE, SIDE, st.lists(st.integers(1, 4000), min_size=1, max_size=3), OVERLAP)
@settings(max_examples=200)
def test_tiles_have_their_size_lie_inside_and_leave_no_gap(w: int, h: int, sizes: list[int], overlap: float) -> None:
    try:
        boxes = tile_boxes(w, h, sizes, overlap, 5000)
    except BadRegions:
        return
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [w, h]).all()
    assert (boxes == np.round(boxes)).all()
    for size in sizes:
        shape = (min(size, w), min(size, h))
        these = boxes[(boxes[:, 2:] - boxes[:, :2] == shape).all(1)]
        for axis, length in ((0, w), (1, h)):
            starts = np.unique(these[:, axis])
            assert starts[0] == 0
            assert starts[-1] == length - shape[axis]
            assert (np.diff(starts) <= max(math.floor(size * (1 - overlap) + 1e-6), 1)).all()


def test_too_many_tiles_are_refused_before_they_are_made() -> None:
    with pytest.raises(BadRegions, match=r"49994000 regions, more than regions\.max_regions = 64") as caught:
        tile_boxes(49_994, 1_000, [1], 0.9, 64)
    assert caught.value.error_class is ErrorClass.TOO_MANY_REGIONS


def test_the_whole_image_comes_first_where_asked() -> None:
    regions = cut_regions(grid(whole=True), 20, 10)
    assert regions.kinds == ["whole", "grid", "grid", "grid", "grid"]
    assert regions.boxes[:2].tolist() == [[0, 0, 20, 10], [0, 0, 10, 5]]
    assert regions.labels == regions.scores == [None] * 5


def made(count: int, **options: object) -> Regions:
    return finished(grid(**options), "box", np.ones((count, 4), np.float32), 20, 10)


def test_an_image_without_regions_follows_the_rule() -> None:
    assert made(0).kinds == ["whole"]
    assert made(0).boxes.tolist() == [[0, 0, 20, 10]]
    with pytest.raises(BadRegions, match="without_regions is fail") as caught:
        made(0, without_regions="fail")
    assert caught.value.error_class is ErrorClass.NO_REGIONS
    assert made(1, without_regions="fail").kinds == ["box"]


def test_more_than_max_regions_are_too_many() -> None:
    assert len(made(64).boxes) == 64
    with pytest.raises(BadRegions, match="65 regions") as caught:
        made(65)
    assert caught.value.error_class is ErrorClass.TOO_MANY_REGIONS


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        ([0, 0, 10, 5], (0, 0, 10, 5)),
        ([1.2, 2.0, 3.1, 4.0], (1, 2, 4, 4)),
        ([4.4, 4.4, 4.6, 4.6], (4, 4, 5, 5)),
        ([-3, -3, 99, 99], (0, 0, 10, 5)),
        ([10, 5, 10, 5], (9, 4, 10, 5)),
    ],
)
def test_every_pixel_that_a_box_touches_is_cut(box: list[float], pixels: tuple[int, ...]) -> None:
    assert pixel_box(box, 10, 5) == pixels
