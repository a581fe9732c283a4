"""Which model to take, and how to store its vectors, in a sentence with its reason.

**The rule.** Models that are lost on these images are left out, unless all are. Of the others the best is the one
with the highest mean; those whose difference to it may be chance (the 95 % interval of the paired difference reaches 0)
count as equally good, and where one of these is faster by a tenth or more, the fastest is taken. Of its representations
that with the fewest bytes is taken that loses at most a point of accuracy, or without labels that finds at least 95 %
of the true neighbours.
"""

from collections.abc import Sequence

import numpy as np

from jobs.benchmarking.measure import Judged, SharedImages
from jobs.benchmarking.results import Measured95, Recommendation, RepresentationResult

MOST_LOSS = 0.01
LEAST_RECALL = 0.95
FASTER = 1.1


def recommend(judged: Sequence[Judged], shared: SharedImages | None, measure: str) -> Recommendation:
    """`measure` is what models are compared by, in words."""
    lost = [each.result.name for each in judged if each.result.domain and each.result.domain.lost]
    able = [each for each in judged if not np.isnan(each.quality).all()]
    there = [each for each in able if each.result.name not in lost] or able
    if shared is None or not there:
        sentence = "No model could be judged: each says why in its line."
        return Recommendation(model=None, representation=None, measure=measure, sentence=sentence, lost=lost)
    best = max(there, key=lambda each: float(np.nanmean(each.quality)))
    equal = [each for each in there if each is best or _may_be_chance(best, each, shared)]
    fastest = max(equal, key=_speed)
    taken = fastest if _speed(fastest) >= FASTER * _speed(best) else best
    stored = smallest_that_keeps(taken)
    sentence = " ".join(
        part
        for part in (
            _about_model(taken, best, equal, there, shared, measure),
            _about_storing(taken, stored, measure),
            _about_lost(lost, all_lost=len(lost) == len(judged)),
        )
        if part
    )
    name = stored.name if stored else None
    return Recommendation(model=taken.result.name, representation=name, measure=measure, sentence=sentence, lost=lost)


def _speed(judged: Judged) -> float:
    return judged.result.speed.images_per_s if judged.result.speed else 0.0


def _may_be_chance(best: Judged, other: Judged, shared: SharedImages) -> bool:
    difference = shared.mean(best.quality - other.quality)
    return difference is not None and difference.low <= 0


def smallest_that_keeps(judged: Judged) -> RepresentationResult | None:
    """The representation with the fewest bytes that keeps what the full vectors have."""
    full = judged.result.representations[0] if judged.result.representations else None
    if full is None:
        return None
    able = [each for each in judged.result.representations if _keeps(each, full)]
    return min(able, key=lambda each: (each.bytes_stored, each.bytes_per_vector))


def _keeps(each: RepresentationResult, full: RepresentationResult) -> bool:
    if each is full:
        return True
    if each.knn is not None and full.knn is not None:
        return each.knn.mean >= full.knn.mean - MOST_LOSS
    return each.recall is not None and each.recall.mean >= LEAST_RECALL


def interval(value: Measured95) -> str:
    """`0.831 (0.790 to 0.868)`."""
    return f"{value.mean:.3f} ({value.low:.3f} to {value.high:.3f})"


def _about_model(
    taken: Judged, best: Judged, equal: Sequence[Judged], there: Sequence[Judged], shared: SharedImages, measure: str
) -> str:
    name = taken.result.name
    start = f"Take {name}: {measure} {interval(shared.known_mean(taken.quality))}"
    if taken is not best:
        more = shared.known_mean(best.quality - taken.quality)
        return (
            f"{start}; {best.result.name} has {more.mean:.3f} more, which may be chance ({more.low:.3f} to "
            f"{more.high:.3f}), and does {_speed(best):,.1f} images a second here where {name} does "
            f"{_speed(taken):,.1f}."
        )
    others = [each for each in there if each is not taken]
    if not others:
        return f"{start}; there is no other to compare it with."
    following = max(others, key=lambda each: float(np.nanmean(each.quality)))
    difference = shared.mean(taken.quality - following.quality)
    if difference is None:
        return f"{start}."
    sure = "which may be chance, but none is faster" if following in equal else "more than chance"
    return (
        f"{start}, {difference.mean:.3f} ({difference.low:.3f} to {difference.high:.3f}) above "
        f"{following.result.name}, the next best: {sure}."
    )


def _about_storing(taken: Judged, stored: RepresentationResult | None, measure: str) -> str:
    if stored is None:
        return ""
    full = taken.result.representations[0]
    if stored is full:
        return f"Store its vectors as they are ({full.bytes_stored:,.0f} bytes): nothing smaller keeps as much."
    keeps = ""
    if stored.knn is not None and full.knn is not None:
        keeps = f"accuracy {stored.knn.mean:.3f} for {full.knn.mean:.3f}"
    elif stored.recall is not None:
        keeps = f"{100 * stored.recall.mean:.0f} % of the nearest ten"
    return (
        f"Store them as {stored.name}: {stored.bytes_stored:,.0f} bytes a vector in place of {full.bytes_stored:,.0f}, "
        f"{keeps}, on images that nothing was fitted on."
    )


def _about_lost(lost: Sequence[str], *, all_lost: bool) -> str:
    if not lost:
        return ""
    if all_lost:
        return "None of them tells these images apart better than random weights: look for a model of this domain."
    verb = "is" if len(lost) == 1 else "are"
    return f"{', '.join(lost)} {verb} lost on these images: no better than random weights."
