"""A classifier made from names or from labelled rows, and what it is worth on rows that had no part in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jobs.labelling.classify_report import ConfusedClasses, MeasuredClass, MeasuredClasses, SuspiciousLabel
from operators.base.errors import UserError
from operators.vectors.class_scores import LinearClasses, softmax
from pipelines.classification.knn import LabelledNeighbours, vote_logits
from pipelines.classification.labelled import LabelledRows, split_groups
from pipelines.classification.measure import (
    ClassMeasurement,
    calibration_error,
    fit_temperature,
    measure,
    suspicious,
)
from pipelines.classification.probe import fit_probe
from pipelines.classification.zero_shot import TEMPERATURE

PROBE_SHARES = (0.6, 0.2)
"""Of the labelled rows those that a probe is trained on, and those that its strength and temperature are chosen by; it
is measured on the rest."""
HALVES = (0.5,)
MOST_ASKED = 10_000
"""Labelled rows whose neighbours are looked for, where it is done row by row."""
SURE = 0.8
"""Share of the votes for another class from which on a label is suspicious."""
LISTED, CONFUSIONS, MATRIX = 100, 50, 100


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A classifier, and its figures where there were labels."""

    tensors: dict[str, np.ndarray]
    classes: tuple[str, ...]
    temperature: float
    measured: MeasuredClasses | None


@dataclass(frozen=True, kw_only=True)
class MeasuredAs:
    """How a classifier is measured."""

    label: str
    threshold: float
    neighbours: int
    seed: int


Say = Callable[[str], None]


def named_classes(
    classes: LinearClasses, names: tuple[str, ...], rows: LabelledRows | None, how: MeasuredAs, say: Say
) -> Learned:
    """By class vectors of words; calibrated and measured where rows have a label."""
    tensors = {"weights": classes.weights, "bias": classes.bias}
    if rows is None:
        return Learned(tensors=tensors, classes=names, temperature=TEMPERATURE, measured=None)
    known, left_out = among(rows, names)
    if not len(known):
        raise UserError(
            f"no row's {how.label} is one of the classes; it holds {', '.join(rows.classes[:10])}: give these names to "
            "--class, or leave --label out"
        )
    logits = classes.logits(known.units)
    tuned, tested = split_groups(known.groups, HALVES, seed=how.seed)
    temperature, measured = _measured(
        known, how, logits, tuned, tested, TEMPERATURE, say, other_labels=left_out, whole=rows
    )
    return Learned(tensors=tensors, classes=names, temperature=temperature, measured=measured)


def learned_probe(rows: LabelledRows, how: MeasuredAs, say: Say) -> Learned:
    """A linear probe, trained on some of the rows, chosen by others and measured on the rest."""
    _check_enough(rows, how.label)
    train, tuned, tested = split_groups(rows.groups, PROBE_SHARES, seed=how.seed)
    units, labels = rows.units, rows.labels
    if len(np.unique(labels[train])) < 2 or not len(tuned) or not len(tested):
        raise UserError(
            f"{len(rows):,} rows with {how.label} in {len(np.unique(rows.groups)):,} groups are too few to train, "
            "choose and measure a probe on; label more, or group less"
        )
    probe = fit_probe(
        (units[train], labels[train]),
        (units[tuned], labels[tuned]),
        len(rows.classes),
        on_strength=lambda strength: say(f"training a probe on {len(train):,} rows, C {strength:g}"),
    )
    notes = [f"probe: trained on {len(train):,} rows, C {probe.strength:g}"]
    notes += [] if probe.converged else ["the probe's training was stopped before it had converged"]
    logits = probe.classes.logits(units)
    temperature, measured = _measured(rows, how, logits, tuned, tested, 1.0, say, notes=notes)
    tensors = {"weights": probe.classes.weights, "bias": probe.classes.bias}
    return Learned(tensors=tensors, classes=rows.classes, temperature=temperature, measured=measured)


def learned_neighbours(rows: LabelledRows, how: MeasuredAs, say: Say) -> Learned:
    """The labelled rows themselves; each is asked about the others, without those of its own group."""
    _check_enough(rows, how.label)
    asked = _some(len(rows), how.seed)
    say(f"asking the neighbours of {len(asked):,} labelled rows")
    votes = _votes(rows, asked, how.neighbours)
    tuned, tested = split_groups(rows.groups[asked], HALVES, seed=how.seed)
    logits = np.zeros((len(rows), len(rows.classes)))
    logits[asked] = vote_logits(votes, how.neighbours)
    temperature, measured = _measured(rows, how, logits, asked[tuned], asked[tested], 1.0, say, votes=(asked, votes))
    tensors = {"vectors": rows.stored, "labels": rows.labels.astype(np.int32)}
    return Learned(tensors=tensors, classes=rows.classes, temperature=temperature, measured=measured)


def among(rows: LabelledRows, names: Sequence[str]) -> tuple[LabelledRows, int]:
    """The rows whose label is one of the names, numbered by these; and how many are not."""
    place = {name: number for number, name in enumerate(names)}
    numbers = np.array([place.get(name, -1) for name in rows.classes], np.int64)[rows.labels]
    own = np.flatnonzero(numbers >= 0)
    known = LabelledRows(
        stored=rows.stored[own],
        classes=tuple(names),
        labels=numbers[own],
        groups=rows.groups[own],
        ids=rows.ids.take(own),
        uris=rows.uris.take(own),
        whole=rows.whole,
    )
    return known, len(rows) - len(own)


def _check_enough(rows: LabelledRows, label: str) -> None:
    if len(rows.classes) < 2 or len(np.unique(rows.groups)) < 4:
        raise UserError(
            f"{len(rows):,} rows with a vector have {label}, of {len(rows.classes)} classes in "
            f"{len(np.unique(rows.groups)):,} groups: to learn from them takes two classes and four groups at least"
        )
    if 2 * len(rows.classes) > len(rows):
        raise UserError(
            f"{label} has {len(rows.classes):,} values in {len(rows):,} rows: these are no classes to learn; name a "
            "column whose values come again"
        )


def _some(count: int, seed: int) -> np.ndarray:
    """Indices of up to `MOST_ASKED` rows at random, in order."""
    chosen: np.ndarray = np.sort(np.random.default_rng(seed).permutation(count)[:MOST_ASKED])
    return chosen


def _votes(rows: LabelledRows, asked: np.ndarray, k: int) -> np.ndarray:
    units = rows.units
    voting = LabelledNeighbours(units=units, labels=rows.labels, keys=rows.groups, classes=len(rows.classes), k=k)
    return voting.votes(units[asked], rows.groups[asked])


def _measured(
    rows: LabelledRows,
    how: MeasuredAs,
    logits_NC: np.ndarray,
    tuned: np.ndarray,
    tested: np.ndarray,
    before: float,
    say: Say,
    *,
    other_labels: int = 0,
    whole: LabelledRows | None = None,
    votes: tuple[np.ndarray, np.ndarray] | None = None,
    notes: Sequence[str] = (),
) -> tuple[float, MeasuredClasses]:
    """(the temperature by the rows `tuned`, all figures on the rows `tested`)."""
    if not len(tested):
        tested = tuned
        notes = [*notes, "too few groups to hold any back: measured on the rows that the temperature is of"]
    temperature = fit_temperature(logits_NC[tuned], rows.labels[tuned])
    scores = softmax(logits_NC[tested] / temperature)
    labels, predicted = rows.labels[tested], scores.argmax(1)
    top, right = scores.max(1), predicted == labels
    raw = softmax(logits_NC[tested] / before).max(1)
    say(f"measuring on {len(tested):,} rows")
    found = measure(labels, predicted, rows.groups[tested], len(rows.classes), seed=how.seed)
    if votes is None:
        asked = _some(len(rows), how.seed)
        say(f"asking the neighbours of {len(asked):,} labelled rows")
        votes = asked, _votes(rows, asked, how.neighbours)
    covered = top.astype(np.float32) >= how.threshold
    sizes = np.bincount(labels, minlength=len(rows.classes))
    return temperature, MeasuredClasses(
        label=how.label,
        labelled=rows.whole,
        drawn=len(whole or rows),
        other_labels=other_labels,
        rows=len(tested),
        groups=len(np.unique(rows.groups[tested])),
        accuracy=round(found.accuracy.value, 6),
        low=round(found.accuracy.low, 6),
        high=round(found.accuracy.high, 6),
        largest_class=round(float(sizes.max() / len(labels)), 6),
        coverage=round(float(covered.mean()), 6),
        accuracy_covered=round(float(right[covered].mean()), 6) if covered.any() else None,
        temperature=temperature,
        ece_before=round(calibration_error(raw, right), 6),
        ece=round(calibration_error(top, right), 6),
        classes=_by_class(rows.classes, found, sizes),
        confusion=found.confusion.tolist() if len(rows.classes) <= MATRIX else None,
        confused=_confused(rows.classes, found.confusion),
        suspicious=_suspicious(rows, *votes),
        looked_at=len(votes[0]),
        notes=list(notes),
    )


def _by_class(names: Sequence[str], found: ClassMeasurement, sizes: np.ndarray) -> list[MeasuredClass]:
    return [
        MeasuredClass(
            name=name,
            rows=int(size),
            recall=round(recall.value, 6) if recall else None,
            low=round(recall.low, 6) if recall else None,
            high=round(recall.high, 6) if recall else None,
        )
        for name, size, recall in zip(names, sizes, found.recalls, strict=True)
    ]


def _confused(names: Sequence[str], confusion: np.ndarray) -> list[ConfusedClasses]:
    others = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-others, axis=None, kind="stable")[:CONFUSIONS]
    pairs = [(int(at) // len(names), int(at) % len(names)) for at in order]
    return [
        ConfusedClasses(label=names[label], predicted=names[other], rows=int(others[label, other]))
        for label, other in pairs
        if others[label, other]
    ]


def _suspicious(rows: LabelledRows, asked: np.ndarray, votes: np.ndarray) -> list[SuspiciousLabel]:
    found = suspicious(rows.labels[asked], votes, SURE)[:LISTED]
    return [
        SuspiciousLabel(
            id=rows.ids[int(asked[at])].as_py(),
            uri=rows.uris[int(asked[at])].as_py(),
            label=rows.classes[rows.labels[asked[at]]],
            neighbours_say=rows.classes[int(votes[at].argmax())],
            share=round(float(votes[at].max()), 6),
        )
        for at in found
    ]
