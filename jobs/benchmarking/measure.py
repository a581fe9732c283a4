"""From vectors to figures: every measure of one model on the images that all models share."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jobs.benchmarking.results import (
    DomainResult,
    LookResult,
    Measured95,
    ModelResult,
    RepresentationResult,
    SpreadResult,
)
from jobs.benchmarking.vectors import CopiesTold, Embedded
from pipelines.judging.changed import effect_of_change
from pipelines.judging.changes import COPIES, KINDS
from pipelines.judging.domain import effective_rank, mean_pair_cosine
from pipelines.judging.intervals import mean_interval
from pipelines.judging.labelled import cosines_of, label_scores, probe_right
from pipelines.judging.representations import NotFitted, Representation, halves, representations

KNN = 10
"""Neighbours by which models are compared, where there are labels."""
LOST_RANK = 1.25
"""Without labels a model is lost where its effective rank is at most so many times that of random weights."""


@dataclass(frozen=True, kw_only=True)
class SharedImages:
    """The images that every judged model has a vector for."""

    rows: np.ndarray
    """(N,) int64: their numbers in the sample."""
    groups: np.ndarray
    """(N,) int64."""
    labels: np.ndarray | None
    """(N,) int64, -1 for an image without a label; None without labels."""
    copies: CopiesTold
    seed: int

    def mean(self, values: np.ndarray, at: np.ndarray | None = None) -> Measured95 | None:
        """`at`: the images that the values are of; None: all of them."""
        found = mean_interval(values, self.groups if at is None else self.groups[at], seed=self.seed)
        return None if found is None else Measured95(**vars(found))

    def known_mean(self, values: np.ndarray, at: np.ndarray | None = None) -> Measured95:
        """As `mean`, of values that are there."""
        found = self.mean(values, at)
        assert found is not None
        return found


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A model's figures, and what they are the means of, to compare models image by image."""

    result: ModelResult
    quality: np.ndarray
    """(N,) float64: what models are compared by; NaN for images that say nothing."""
    stored: dict[str, np.ndarray]
    """Representation -> (N,) float64: what it is compared by; NaN for images of the half that it was fitted on."""
    forms: tuple[Representation, ...]


def judge(result: ModelResult, embedded: Embedded, shared: SharedImages, phase: Callable[[str], None]) -> Judged:
    """Fill in what can be measured of vectors alone."""
    unit = embedded.images[shared.rows]
    quality = np.full(len(unit), np.nan)
    phase(f"{result.name}: what neighbours and a linear probe say of labels")
    update: dict[str, object] = {"images": len(unit)}
    if shared.labels is not None:
        labelled, quality = _labels(unit, shared)
        update |= labelled
    phase(f"{result.name}: changed copies")
    looks, found = _looks(embedded, unit, shared)
    if looks:
        update |= {"looks": looks, "copies": shared.mean(found)}
    if shared.labels is None:
        quality = found
    update["domain"] = _domain(embedded, shared)
    phase(f"{result.name}: shorter and coarser vectors")
    stored, measures, forms = _representations(unit, shared)
    return Judged(
        result=result.model_copy(update={**update, **stored}), quality=quality, stored=measures, forms=tuple(forms)
    )


def _labels(unit: np.ndarray, shared: SharedImages) -> tuple[dict[str, object], np.ndarray]:
    assert shared.labels is not None
    there = np.flatnonzero(shared.labels >= 0)
    labels, groups, vectors = shared.labels[there], shared.groups[there], unit[there]
    scores = label_scores(cosines_of(vectors), labels, groups)
    quality = np.full(len(unit), np.nan)
    quality[there] = scores.right[KNN]
    knn = {k: shared.mean(right, there) for k, right in scores.right.items()}
    return {
        "knn": {k: found for k, found in knn.items() if found is not None},
        "mean_average_precision": shared.mean(scores.average_precision, there),
        "probe": shared.mean(probe_right(vectors, labels, groups, seed=shared.seed), there),
    }, quality


def _looks(embedded: Embedded, unit: np.ndarray, shared: SharedImages) -> tuple[dict[str, LookResult], np.ndarray]:
    """(kind -> effect, (N,): of each image the share of its copies that find it)."""
    places = np.full(len(embedded.images), -1)
    places[shared.rows] = np.arange(len(unit))
    copies = shared.copies
    usable = ~np.isnan(embedded.copies[:, 0]) & (places[copies.originals] >= 0)
    sums, counts = np.zeros(len(unit)), np.zeros(len(unit))
    looks: dict[str, LookResult] = {}
    for kind in KINDS:
        at = np.flatnonzero(usable & (copies.kinds == kind))
        if not len(at):
            continue
        own = places[copies.originals[at]]
        effect = effect_of_change(embedded.copies[at], unit, own, shared.groups)
        looks[kind] = LookResult(
            found=shared.known_mean(effect.found, own),
            cosine=shared.known_mean(effect.cosine, own),
            neighbours_changed=shared.known_mean(effect.neighbours_changed, own),
        )
        if kind in COPIES:
            sums[own] += effect.found
            counts[own] += 1
    return looks, np.divide(sums, counts, out=np.full(len(unit), np.nan), where=counts > 0)


def _domain(embedded: Embedded, shared: SharedImages) -> DomainResult:
    """On as many images as the random network has embedded, or on all."""
    known = np.arange(len(shared.rows))
    if embedded.random is not None and len(embedded.random) > 1:
        within = shared.rows < len(embedded.random)
        known = np.flatnonzero(within)
        known = known[~np.isnan(embedded.random[shared.rows[known], 0])]
    own, own_right = _spread(embedded.images[shared.rows[known]], shared, known)
    if embedded.random is None or len(known) < 2:
        return DomainResult(own=own, random=None, lost=False, why="there is no random network to compare with")
    random, random_right = _spread(embedded.random[shared.rows[known]], shared, known)
    return DomainResult(own=own, random=random, **_lost(own, random, own_right, random_right, shared, known))


def _spread(unit: np.ndarray, shared: SharedImages, at: np.ndarray) -> tuple[SpreadResult, np.ndarray | None]:
    right = None
    if shared.labels is not None and (shared.labels[at] >= 0).any():
        there = np.flatnonzero(shared.labels[at] >= 0)
        scores = label_scores(
            cosines_of(unit[there]), shared.labels[at][there], shared.groups[at][there], (KNN,), ranked=False
        )
        right = np.full(len(at), np.nan)
        right[there] = scores.right[KNN]
    return SpreadResult(
        images=len(unit),
        effective_rank=effective_rank(unit),
        mean_pair_cosine=mean_pair_cosine(unit),
        knn=None if right is None or np.isnan(right).all() else float(np.nanmean(right)),
    ), right


def _lost(
    own: SpreadResult,
    random: SpreadResult,
    own_right: np.ndarray | None,
    random_right: np.ndarray | None,
    shared: SharedImages,
    at: np.ndarray,
) -> dict[str, bool | str]:
    """With labels by what neighbours say of them, without by the effective rank."""
    if own_right is not None and random_right is not None:
        gain = shared.mean(own_right - random_right, at)
        if gain is not None:
            lost = gain.low <= 0
            words = "no better than" if lost else "better than"
            return {
                "lost": lost,
                "why": f"10-NN accuracy {own.knn:.3f}, {words} {random.knn:.3f} with random weights",
            }
    lost = own.effective_rank <= LOST_RANK * random.effective_rank
    return {
        "lost": lost,
        "why": f"effective rank {own.effective_rank:,.1f}, with random weights {random.effective_rank:,.1f}",
    }


def _representations(
    unit: np.ndarray, shared: SharedImages
) -> tuple[dict[str, object], dict[str, np.ndarray], list[Representation]]:
    measured = halves(shared.groups, shared.seed).measured
    results: list[RepresentationResult] = []
    not_fitted: dict[str, str] = {}
    values: dict[str, np.ndarray] = {}
    forms: list[Representation] = []
    for each in representations(unit, shared.groups, shared.labels, seed=shared.seed):
        if isinstance(each, NotFitted):
            not_fitted[each.name] = each.why
            continue
        forms.append(each)
        results.append(
            RepresentationResult(
                name=each.name,
                dim=each.dim,
                bytes_per_vector=each.bytes_per_vector,
                bytes_stored=each.bytes_stored,
                recall=shared.mean(each.recall, measured),
                knn=None if each.right is None else shared.mean(each.right, measured),
                on_front=False,
            )
        )
        values[each.name] = np.full(len(unit), np.nan)
        values[each.name][measured] = each.recall if each.right is None else each.right
    return {"representations": results, "not_fitted": not_fitted}, values, forms
