"""What a model is worth on images that it has not seen: before it is tuned, and after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.judging.intervals import MeanInterval, mean_interval
from pipelines.judging.labelled import cosines_of, label_scores, parts, without_own
from pipelines.judging.words import class_vectors, zero_shot_right
from pipelines.tuning.rows import TuneObjective
from pipelines.tuning.task import found_by_text

NEAREST = 10
MEASURES = {
    "right": "1-NN",
    "found": "recall@10",
    "precision": "mAP",
    "text_first": "text R@1",
    "text_found": "text R@10",
    "zero_shot": "zero-shot",
}
"""What is measured, by the name that a person reads. `right`: the nearest other image has its label. `found`: one of
the ten nearest has. `text_first`, `text_found`: the image is the nearest to its caption, or among the ten. `zero_shot`:
the nearest class name is its label's."""
BY: dict[TuneObjective, str] = {"labels": "right", "pairs": "right", "captions": "text_first"}
"""By what measure a tuned model is better."""

ImageValues = Mapping[str, np.ndarray]
"""Measure -> (M,) float64: a value for each image, NaN where it has none."""


@dataclass(frozen=True, kw_only=True)
class MeasuredGain:
    """One measure on the tested images: shares from 0 to 1, with the ends of 95 % intervals by groups."""

    measure: str
    before: MeanInterval
    after: MeanInterval
    gain: MeanInterval
    """Of the differences, image by image."""


def label_values(vectors_MD: np.ndarray, labels_M: np.ndarray, own_M: np.ndarray) -> ImageValues:
    """Each of (M, D) float32 vectors asked about all others that are not of its number in `own_M`."""
    scores = cosines_of(vectors_MD)
    judged = label_scores(scores, labels_M, own_M, (1,))
    found = np.full(len(vectors_MD), np.nan)
    for part in parts(len(vectors_MD)):
        near = without_own(scores, part, own_M)
        k = min(NEAREST, near.shape[1])
        best = np.argpartition(-near, k - 1, axis=1)[:, :k]
        same = (labels_M[best] == labels_M[part][:, None]) & (np.take_along_axis(near, best, 1) > -np.inf)
        known = np.isfinite(judged.average_precision[part])
        found[part] = np.where(known, same.any(axis=1), np.nan)
    return {"right": judged.right[1], "found": found, "precision": judged.average_precision}


def text_values(vectors_MD: np.ndarray, texts_MD: np.ndarray) -> ImageValues:
    """Of (M, D) vectors of images, and of their captions."""
    return {
        "text_first": found_by_text(vectors_MD, texts_MD, 1),
        "text_found": found_by_text(vectors_MD, texts_MD, NEAREST),
    }


def zero_shot_values(vectors_MD: np.ndarray, prompts_CPD: np.ndarray, labels_M: np.ndarray) -> ImageValues:
    """Of (M, D) vectors of images, and (C, P, D) of the sentences about each class."""
    units, prompts = (
        each / np.maximum(np.linalg.norm(each, axis=-1, keepdims=True), 1e-12) for each in (vectors_MD, prompts_CPD)
    )
    return {"zero_shot": zero_shot_right(units, class_vectors(prompts), labels_M)}


def gains(before: ImageValues, after: ImageValues, own_M: np.ndarray) -> list[MeasuredGain]:
    """What is in both, in the order of `MEASURES`."""
    found = []
    for measure in (each for each in MEASURES if each in before and each in after):
        both = np.isfinite(before[measure]) & np.isfinite(after[measure])
        one, other, own = before[measure][both], after[measure][both], own_M[both]
        intervals = [mean_interval(values, own) for values in (one, other, other - one)]
        if all(each is not None for each in intervals):
            first, second, third = (each for each in intervals if each is not None)
            found.append(MeasuredGain(measure=measure, before=first, after=second, gain=third))
    return found


def verdict(measured: Sequence[MeasuredGain], objective: TuneObjective) -> str:
    """One sentence: what is gained by the objective's measure, and how sure that is."""
    own = next((each for each in measured if each.measure == BY[objective]), None)
    if own is None:
        return "no image that was tested could be judged: nothing is known of what was gained"
    points, low, high = (100 * each for each in (own.gain.mean, own.gain.low, own.gain.high))
    name, interval = MEASURES[own.measure], f"[{low:.1f}, {high:.1f}]"
    if own.gain.low == own.gain.high == 0:
        return "nothing gained: keep the base"
    if own.gain.low > 0:
        return f"{name} rises by {points:.1f} points {interval}"
    if own.gain.high < 0:
        return f"{name} falls by {-points:.1f} points {interval}: keep the base"
    return f"nothing gained that is sure ({name} by {points:+.1f} points {interval}): keep the base"
