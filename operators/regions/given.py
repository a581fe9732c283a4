"""From boxes as a manifest gives them, well-formed or not, to regions of an image. NumPy only, no Arrow here."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from operators.base.errors import ErrorClass
from operators.regions.boxes import BadRegions, Regions, check_count, cut_regions, finished
from operators.regions.options import (
    BoxesOptions,
    BoxFormat,
    DetectorOptions,
    GridOptions,
    PatchesOptions,
    TilesOptions,
)

CutFrom = GridOptions | TilesOptions | BoxesOptions | DetectorOptions


def place(options: CutFrom, width: int, height: int, given: Mapping[str, Any]) -> Regions:
    """The regions of an image of this size. `given` is JSON-ready: for boxes, what the manifest holds
    (`given_regions`); for a detector, the `kinds` and `boxes` that it found. Raises `BadRegions`."""
    if isinstance(options, BoxesOptions):
        return given_regions(options, width, height, given)
    if isinstance(options, DetectorOptions):
        count = len(given["boxes"])
        check_count(count, options.max_regions)
        boxes = np.array(given["boxes"], np.float32).reshape(-1, 4)
        return Regions(kinds=given["kinds"], boxes=boxes, labels=[None] * count, scores=[None] * count)
    return cut_regions(options, width, height)


def given_boxes(
    values: Sequence[object], width: int, height: int, box_format: BoxFormat, normalized: bool
) -> np.ndarray:
    """(M, 4) float32 from M times four numbers, clipped to the image.

    Raises `BadRegions`, with the box, for one that is malformed, has no area or lies outside the image.
    """
    scale = (width, height, width, height) if normalized else (1, 1, 1, 1)
    boxes = [_given_box(n, box, box_format, scale, (width, height)) for n, box in enumerate(values)]
    return np.array(boxes, np.float32).reshape(-1, 4)


def _given_box(
    index: int, values: object, box_format: BoxFormat, scale: Sequence[int], size: tuple[int, int]
) -> np.ndarray:
    if not isinstance(values, Sequence) or len(values) != 4 or not all(_is_number(value) for value in values):
        raise _bad_box(index, values, "a box is four finite numbers")
    exact = np.array([float(value) for value in values])
    if box_format == "xywh":
        exact[2:] += exact[:2]
    box = (exact * scale).astype(np.float32)
    if not (box[:2] < box[2:]).all():
        raise _bad_box(index, values, f"it has no area ({box_format})")
    clipped: np.ndarray = np.clip(box, 0, np.array([*size, *size], np.float32))
    if not (clipped[:2] < clipped[2:]).all():
        raise _bad_box(index, values, f"it lies outside the image of {size[0]} x {size[1]} pixels")
    return clipped


def _bad_box(index: int, values: object, why: str) -> BadRegions:
    return BadRegions(ErrorClass.BAD_REGIONS, f"box {index} is {str(values)[:200]}: {why}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def as_list(values: object, what: str) -> Sequence[Any]:
    """A list, read from JSON text where it is text; empty for None. Raises `BadRegions` for anything else."""
    try:
        parsed = json.loads(values) if isinstance(values, str) else values
    except (ValueError, RecursionError):
        parsed = values
    if parsed is None:
        return []
    if isinstance(parsed, list):
        return parsed
    raise BadRegions(ErrorClass.BAD_REGIONS, f"{what}: {str(values)[:200]} is no list")


def given_regions(
    options: BoxesOptions | PatchesOptions, width: int, height: int, given: Mapping[str, object]
) -> Regions:
    """Boxes, labels and scores from the manifest's values for one image. Raises `BadRegions`."""
    values = as_list(given.get("boxes"), "boxes")
    check_count(len(values), options.max_regions)
    boxes = given_boxes(values, width, height, options.format, options.normalized)
    labels, scores = labels_and_scores(given, len(boxes))
    kind = "box" if isinstance(options, BoxesOptions) else "patch"
    return finished(options, kind, boxes, width, height, labels=labels, scores=scores)


def labels_and_scores(given: Mapping[str, object], count: int) -> tuple[list[str | None], list[float | None]]:
    """(labels, scores) for `count` boxes, None where there is none. Raises `BadRegions`."""
    labels = [_label(label) for label in _of_boxes(given, "labels", count)]
    return labels, [_score(score) for score in _of_boxes(given, "scores", count)]


def _of_boxes(given: Mapping[str, object], what: str, count: int) -> Sequence[Any]:
    values = as_list(given.get(what), what) or [None] * count
    if len(values) != count:
        raise BadRegions(ErrorClass.BAD_REGIONS, f"{len(values)} {what} of {count} boxes")
    return values


def _label(value: object) -> str | None:
    text = None if _is_none(value) else str(value)
    try:
        (text or "").encode()
    except UnicodeEncodeError:  # half of a surrogate pair: JSON text can hold what no column of a table can
        raise BadRegions(ErrorClass.BAD_REGIONS, f"labels: {ascii(text)[:200]} is no Unicode text") from None
    return text


def _is_none(value: object) -> bool:
    """Whether a value is missing: NaN is how pandas writes that."""
    return value is None or value != value


def _score(value: object) -> float | None:
    if _is_none(value):
        return None
    if not _is_number(value):
        raise BadRegions(ErrorClass.BAD_REGIONS, f"scores: {str(value)[:200]} is no number")
    return float(value)  # type: ignore[arg-type]  # a number, as was checked
