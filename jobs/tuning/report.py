"""What a tuning came to, for a person and for a program."""

import numpy as np
from pydantic import BaseModel

from jobs.session.progress import duration
from pipelines.judging.forgetting import Forgetting
from pipelines.judging.intervals import MeanInterval
from pipelines.tuning.judged import MEASURES, MeasuredGain
from pipelines.tuning.rows import TuneObjective


class Share95(BaseModel):
    """A mean over images, from 0 to 1, or the difference of two, and the ends of its 95 % interval by groups."""

    mean: float
    low: float
    high: float
    images: int

    @classmethod
    def of(cls, found: MeanInterval) -> "Share95":
        return cls(**{name: round(value, 6) if name != "images" else value for name, value in vars(found).items()})


class TuneFigure(BaseModel):
    """One measure on the images that had no part in the training."""

    measure: str
    """`right` (1-NN), `found` (recall@10), `precision` (mAP), `text_first`, `text_found` or `zero_shot`."""
    before: Share95
    after: Share95
    gain: Share95


class RememberedImages(BaseModel):
    """How far the model sees other images as its base does."""

    images: int
    neighbours: float
    """Share of an image's ten nearest others that still are."""
    by_chance: float
    """The same for vectors that have nothing to do with each other."""
    cka: float | None


class TuneReport(BaseModel):
    """A model that is saved, and what it is worth."""

    model: str
    """The folder."""
    weights_sha256: str
    base: str
    base_sha256: str
    objective: TuneObjective
    trainable: str
    dim: int
    parameters: int
    """Numbers that were trained."""
    source: str
    drawn: int
    failures: dict[str, int]
    """Class of failure -> images that gave no pixels."""
    failure_example: str
    without: int
    """Images that say nothing of what is learnt: no label, no caption, no place in the pairs."""
    trained: int
    held_out: int
    """Images by which the training was stopped."""
    tested: int
    """Images that had no part in it, on which the figures are."""
    data_digest: str
    notes: list[str]
    resumed_at: int | None
    """Step of the checkpoint that it went on from."""
    steps: int
    best_step: int
    history: list[dict[str, float]]
    figures: list[TuneFigure]
    remembered: RememberedImages | None
    """None without other images to compare."""
    verdict: str
    images_per_s: float | None
    """Images trained on a second, looks included; None where no step was made."""
    seconds: float
    """Of this call."""


def figures_of(measured: list[MeasuredGain]) -> list[TuneFigure]:
    return [
        TuneFigure(
            measure=each.measure,
            before=Share95.of(each.before),
            after=Share95.of(each.after),
            gain=Share95.of(each.gain),
        )
        for each in measured
    ]


def remembered_of(found: Forgetting | None) -> RememberedImages | None:
    if found is None or found.neighbours is None:
        return None
    return RememberedImages(
        images=found.images,
        neighbours=round(found.neighbours.mean, 6),
        by_chance=round(found.neighbours_by_chance, 6),
        cka=round(found.cka, 6) if np.isfinite(found.cka) else None,
    )


def as_text(report: TuneReport) -> str:
    """A few lines for a person."""
    resumed = "" if report.resumed_at is None else f", went on from step {report.resumed_at:,}"
    bad = sum(report.failures.values())
    classes = ", ".join(f"{name} {count:,}" for name, count in report.failures.items())
    lines = [
        f"model      {report.model}: {report.base}, {report.trainable} trained by {report.objective}; "
        f"{report.parameters:,} numbers, {report.dim} dimensions",
        f"images     {report.trained:,} to train on, {report.held_out:,} to stop by, {report.tested:,} tested; "
        f"{report.drawn:,} drawn of {report.source}",
        *([f"skipped    {bad:,}: {classes}; the first: {report.failure_example}"] if bad else []),
        *([f"left out   {report.without:,} that say nothing of it"] if report.without else []),
        f"trained    {report.steps:,} steps{resumed}; kept: step {report.best_step:,}; "
        + ("" if report.images_per_s is None else f"{report.images_per_s:,.1f} images/s; ")
        + f"{duration(report.seconds)} in all",
        f"           {'':12}{'before':>10}{'after':>10}{'gain, with its 95 % interval':>36}",
        *(_line(each) for each in report.figures),
        *_remembered(report.remembered),
        f"verdict    {report.verdict}",
        *(f"note       {each}" for each in report.notes),
        f"sha256     {report.weights_sha256}",
        f"use it     pixlake embed SOURCE TABLE --model {report.model}",
    ]
    return "\n".join(lines)


def _remembered(found: RememberedImages | None) -> list[str]:
    if found is None:
        return []
    cka = "" if found.cka is None else f"; CKA {found.cka:.3f}"
    return [
        f"remembers  {found.neighbours:.3f} of the ten nearest of each of {found.images:,} other images (by chance "
        f"{found.by_chance:.3f}){cka}"
    ]


def _line(each: TuneFigure) -> str:
    gain = f"{each.gain.mean:+.4f} [{each.gain.low:+.4f}, {each.gain.high:+.4f}]"
    return f"           {MEASURES[each.measure]:12}{each.before.mean:>10.4f}{each.after.mean:>10.4f}{gain:>36}"
