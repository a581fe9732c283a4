"""Boxes of a manifest: read in each form, clipped, and refused with the box where they are none."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from operators.base.errors import ErrorClass
from operators.regions.boxes import BadRegions
from operators.regions.given import given_boxes, given_regions, place
from operators.regions.options import BoxesOptions, DetectorOptions


def boxes(**options: Any) -> BoxesOptions:
    return BoxesOptions.model_validate({"kind": "boxes", "column": "boxes", **options})


@pytest.mark.parametrize(
    ("box_format", "normalized", "numbers"),
    [
        ("xyxy", False, [20, 10, 60, 40]),
        ("xywh", False, [20, 10, 40, 30]),
        ("xyxy", True, [0.1, 0.1, 0.3, 0.4]),
        ("xywh", True, [0.1, 0.1, 0.2, 0.3]),
    ],
)
def test_all_four_ways_to_write_a_box(box_format: Any, normalized: bool, numbers: list[float]) -> None:
    assert np.allclose(given_boxes([numbers], 200, 100, box_format, normalized), [[20, 10, 60, 40]])


def test_what_lies_outside_is_clipped() -> None:
    assert given_boxes([[-5, -5, 30, 30], [15.5, 8, 99, 99]], 20, 10, "xyxy", False).tolist() == [
        [0, 0, 20, 10],
        [15.5, 8, 20, 10],
    ]


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ([1, 2, 3], "four finite numbers"),
        ([1, 2, 3, None], "four finite numbers"),
        ([1, 2, 3, float("nan")], "four finite numbers"),
        ([1, 2, 3, float("inf")], "four finite numbers"),
        ([1, 2, 3, "4"], "four finite numbers"),
        ([1, 2, 3, True], "four finite numbers"),
        (None, "four finite numbers"),
        (7.0, "four finite numbers"),
        ({"x0": 1}, "four finite numbers"),
        ([5, 2, 5, 4], "no area"),
        ([5, 4, 8, 2], "no area"),
        ([20, 0, 30, 5], "outside the image of 20 x 10"),
        ([-9, -9, 0, 0], "outside the image of 20 x 10"),
    ],
)
def test_a_box_that_is_none_is_named(box: object, why: str) -> None:
    with pytest.raises(BadRegions, match=f"box 1 is .*{why}") as caught:
        given_boxes([[0, 0, 5, 5], box], 20, 10, "xyxy", False)
    assert caught.value.error_class is ErrorClass.BAD_REGIONS
    assert str(box)[:20] in str(caught.value)


@for_all(st.lists(st.lists(st.floats() | st.integers(), max_size=5), max_size=3), st.booleans(), st.booleans())
def test_any_numbers_are_boxes_inside_the_image_or_refused(values: list[Any], wh: bool, normalized: bool) -> None:
    try:
        out = given_boxes(values, 20, 10, "xywh" if wh else "xyxy", normalized)
    except BadRegions:
        return
    assert out.shape == (len(values), 4)
    assert (out[:, :2] < out[:, 2:]).all()
    assert (out >= 0).all()
    assert (out <= [20, 10, 20, 10]).all()


def test_labels_and_scores_stay_with_their_boxes() -> None:
    given = {"boxes": [[0, 0, 5, 5], [5, 5, 9, 9]], "labels": ["cat", 7], "scores": [0.5, float("nan")]}
    regions = given_regions(boxes(), 20, 10, given)
    assert regions.kinds == ["box", "box"]
    assert regions.labels == ["cat", "7"]
    assert given_regions(boxes(), 20, 10, {**given, "labels": [float("nan"), "cat"]}).labels == [None, "cat"]
    assert regions.scores == [0.5, None]


def test_text_of_a_csv_file_is_read_as_json() -> None:
    regions = given_regions(boxes(), 20, 10, {"boxes": "[[0, 0, 5, 5]]", "labels": '["cat"]'})
    assert (regions.boxes.tolist(), regions.labels) == ([[0, 0, 5, 5]], ["cat"])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"boxes": "0 0 5 5"}, "boxes: 0 0 5 5 is no list"),
        ({"boxes": {"a": 1}}, "is no list"),
        ({"boxes": "[" * 100_000}, "is no list"),
        ({"boxes": [[0, 0, 5, 5]], "labels": ["a", "b"]}, "2 labels of 1 boxes"),
        ({"boxes": [[0, 0, 5, 5]], "labels": r'["\ud83d"]'}, r"labels: '\\ud83d' is no Unicode text"),
        ({"boxes": [[0, 0, 5, 5]], "scores": ["high"]}, "scores: high is no number"),
    ],
)
def test_columns_that_hold_no_boxes_are_bad_regions(given: dict[str, Any], why: str) -> None:
    with pytest.raises(BadRegions, match=why) as caught:
        given_regions(boxes(labels="labels", scores="scores"), 20, 10, given)
    assert caught.value.error_class is ErrorClass.BAD_REGIONS


@pytest.mark.parametrize("nothing", [None, [], "[]", "null"])
def test_no_box_is_an_image_without_regions(nothing: object) -> None:
    assert given_regions(boxes(), 20, 10, {"boxes": nothing}).kinds == ["whole"]
    with pytest.raises(BadRegions, match="without_regions"):
        given_regions(boxes(without_regions="fail"), 20, 10, {"boxes": nothing})


def test_too_many_boxes_are_counted_before_they_are_read() -> None:
    with pytest.raises(BadRegions, match="3 regions, more than") as caught:
        given_regions(boxes(max_regions=2), 20, 10, {"boxes": [None] * 3})
    assert caught.value.error_class is ErrorClass.TOO_MANY_REGIONS


def test_what_a_detector_found_is_taken_as_it_is() -> None:
    options = DetectorOptions(kind="detector", model="any", max_regions=2)
    found = {"kinds": ["detection", "detection"], "boxes": [[0, 0, 5, 5], [1.5, 2, 9, 9]]}
    assert place(options, 20, 10, found).boxes.tolist() == found["boxes"]
    with pytest.raises(BadRegions, match="3 regions"):
        place(options, 20, 10, {"kinds": ["detection"] * 3, "boxes": [[0, 0, 5, 5]] * 3})
