"""What a distillation came to, for a person and for a program."""

from typing import Literal

import numpy as np
from pydantic import BaseModel

from jobs.reports.evaluation import aligned
from pipelines.distillation.judged import StudentShares

TAUGHT_K = 10
"""Neighbours that are looked for."""


class VectorFigures(BaseModel):
    """Vectors of one length on the images that were held out; shares from 0 to 1."""

    who: Literal["teacher", "untrained", "student"]
    dim: int
    recall: float
    """Share of the ten nearest others by the teacher that it finds."""
    right: float | None
    """Share of images whose nearest other has their label."""
    across: float | None
    """Share of the ten nearest others by the teacher that the teacher's own vector finds among the student's."""


class NetworkFigures(BaseModel):
    """What a network takes to run."""

    name: str
    parameters: int
    macs: int
    """Multiplications with an addition for one image."""
    images_per_s: float
    """Forward passes alone, in float32, on this machine."""


class TaughtOn(BaseModel):
    """The images of a distillation, and those that had no part in it."""

    drawn: int
    failures: dict[str, int]
    """Class of failure -> images that gave no pixels."""
    without_vector: int
    """Images without a vector in the teacher's column."""
    changed: int
    """Images with other bytes than their vector was made of."""
    joined_by: Literal["id", "uri"]
    trained: int
    held_out: int
    """By which the training was stopped."""
    tested: int
    """On which the figures are."""


class DistilReport(BaseModel):
    """A student that is saved, and what it is worth beside its teacher."""

    model: str
    """The folder, for `--model`."""
    weights_sha256: str
    space: Literal["own", "teacher"]
    table: str
    version: int
    column: str
    images: TaughtOn
    dims: tuple[int, ...]
    resumed_at: int | None
    """Step of the checkpoint that it went on from."""
    steps: int
    best_step: int
    history: list[dict[str, float]]
    figures: list[VectorFigures]
    student: NetworkFigures
    teacher: NetworkFigures | None
    teacher_not_run: str | None
    """Why the teacher's own model was not run here."""
    seconds: float
    """Of this call."""

    @property
    def chance(self) -> float:
        """recall@10 of an order by chance: of few images ten are most of the others."""
        return min(1.0, TAUGHT_K / max(self.images.tested - 1, 1))

    @property
    def best(self) -> VectorFigures:
        """The student at its own length."""
        return next(each for each in self.figures if each.who == "student")

    @property
    def trade(self) -> str:
        """What is given for what, in one line."""
        own, first = self.best, self.figures[0]
        text = f"finds {own.recall:.1%} of the teacher's ten nearest"
        if own.right is not None and first.right is not None:
            text += f", 1-NN {own.right:.1%} in place of {first.right:.1%}"
        if self.teacher is None:
            return f"{text}; {self.student.images_per_s:,.0f} images/s here"
        return (
            f"{text}, with {self.student.macs / self.teacher.macs:.1%} of the operations, "
            f"{self.student.parameters / self.teacher.parameters:.0%} of the parameters, at "
            f"{self.student.images_per_s / self.teacher.images_per_s:.1f} times the images a second"
        )


def figures_of(who: Literal["teacher", "untrained", "student"], shares: StudentShares) -> VectorFigures:
    recall = _mean(shares.recall)
    assert recall is not None
    return VectorFigures(who=who, dim=shares.dim, recall=recall, right=_mean(shares.right), across=_mean(shares.across))


def _mean(values: np.ndarray | None) -> float | None:
    if values is None or not np.isfinite(values).any():
        return None
    return round(float(np.nanmean(values)), 6)


def as_text(report: DistilReport) -> str:
    """A few lines for a person."""
    on, resumed = report.images, "" if report.resumed_at is None else f", went on from step {report.resumed_at:,}"
    lines = [
        f"model      {report.model}, vectors of {', '.join(map(str, report.dims))} numbers, {_space(report)}",
        f"taught     by {report.column} of {report.table}, version {report.version}, on {on.trained:,} images of "
        f"{on.drawn:,}, joined by {on.joined_by}; {report.steps:,} steps{resumed}; best by {on.held_out:,} held-out "
        f"images: step {report.best_step:,}",
        *_left_out(on),
        f"tested     on {on.tested:,} images that had no part in it; by chance {report.chance:.3f} of ten are found",
        *(f"           {line}" for line in aligned(_figures(report))),
        *(f"           {line}" for line in aligned(_networks(report))),
        *([f"           the teacher was not run here: {report.teacher_not_run}"] if report.teacher_not_run else []),
        f"trade      {report.trade}",
        f"use it     pixlake embed SOURCE TABLE --model {report.model}",
    ]
    return "\n".join(lines)


def _space(report: DistilReport) -> str:
    across = report.best.across
    if report.space == "own" or across is None:
        return "in a space of their own"
    return (
        f"searched by the teacher's queries on request (search --by-teacher): recall@10 across {across:.3f}, on "
        f"{report.images.tested:,} held-out images"
    )


def _left_out(on: TaughtOn) -> list[str]:
    told = [f"{count:,} {name}" for name, count in on.failures.items()]
    told += [f"{on.without_vector:,} without a teacher's vector"] if on.without_vector else []
    told += [f"{on.changed:,} changed since their vector was made"] if on.changed else []
    return [f"left out   {', '.join(told)}"] if told else []


def _figures(report: DistilReport) -> list[list[str]]:
    shown = [("recall@10", "recall"), ("1-NN", "right"), ("recall@10 across", "across")]
    shown = [(title, name) for title, name in shown if any(getattr(each, name) is not None for each in report.figures)]
    rows = [["", *(title for title, _ in shown)]]
    for each in report.figures:
        values = [getattr(each, name) for _, name in shown]
        rows.append([f"{each.who}, {each.dim}", *("-" if value is None else f"{value:.4f}" for value in values)])
    return rows


def _networks(report: DistilReport) -> list[list[str]]:
    rows = [["", "parameters", "MACs an image", "images/s"]]
    for who, each in (("teacher", report.teacher), ("student", report.student)):
        if each is not None:
            rows.append([f"{who}, {each.name}", f"{each.parameters:,}", f"{each.macs:,}", f"{each.images_per_s:,.1f}"])
    return rows
