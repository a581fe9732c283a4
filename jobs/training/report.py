"""What a training of a head came to, for a person and for a program."""

import json

import numpy as np
from pydantic import BaseModel

from pipelines.training.head import Objective
from pipelines.training.judged import JudgedVectors, gain

WORDS = {"full": "full", "head": "head", "pca": "PCA", "first": "first numbers"}
MEASURES = {"recall": "recall@10", "right": "1-NN", "precision": "mAP", "by_text": "text recall@10"}


class HeadFigures(BaseModel):
    """One way to make vectors, measured on the rows that were held out; shares from 0 to 1."""

    way: str
    """`full`, `head`, `pca`, or `first`: the first numbers of the full vectors."""
    dim: int
    recall: float
    """Share of the ten nearest others by the full vectors that it finds."""
    right: float | None
    """Share of rows whose nearest other has their label."""
    precision: float | None
    """Mean average precision by label."""
    by_text: float | None
    """Share of rows among the ten nearest of their caption's vector."""


class HeadAgainstPca(BaseModel):
    """How much better the head is than a PCA of the same length, by the measure of its objective."""

    dim: int
    measure: str
    difference: float
    low: float
    high: float
    """Ends of the 95 % interval, by groups of rows."""

    @property
    def better(self) -> bool:
        return self.low > 0


class TrainHeadReport(BaseModel):
    """A head that is stored, and what it is worth."""

    table: str
    version: int
    column: str
    objective: Objective
    dims: tuple[int, ...]
    input_dim: int
    hidden: int
    uri: str
    sha256: str
    rows: int
    """Rows that were drawn."""
    trained: int
    held_out: int
    """Rows by which the training was stopped."""
    tested: int
    """Rows that had no part in it, on which the figures are."""
    resumed_at: int | None
    """Step of the checkpoint that it went on from."""
    steps: int
    best_step: int
    history: list[dict[str, float]]
    figures: list[HeadFigures]
    against_pca: list[HeadAgainstPca]
    seconds: float
    """Of this call."""

    @property
    def advice(self) -> str:
        """Where a PCA is as good."""
        if not self.against_pca:
            return "a PCA could not be fitted on so few rows, so it was not compared with one"
        return "; ".join(self._by(measure) for measure in dict.fromkeys(each.measure for each in self.against_pca))

    def _by(self, measure: str) -> str:
        compared = [each for each in self.against_pca if each.measure == measure]
        as_good = [str(each.dim) for each in compared if not each.better]
        if not as_good:
            return f"better than a PCA by {MEASURES[measure]} at every length that it was compared at"
        lengths = "every length" if len(as_good) == len(compared) else ", ".join(as_good)
        return f"at {lengths} a PCA is as good by {MEASURES[measure]}: if that is what counts, use `pixlake fit-pca`"


def figures_of(judged: list[JudgedVectors]) -> list[HeadFigures]:
    return [
        HeadFigures(way=each.way, dim=each.dim, **{name: _mean(getattr(each, name)) for name in MEASURES})
        for each in judged
    ]


def against_pca(judged: list[JudgedVectors], own_M: np.ndarray, objective: Objective) -> list[HeadAgainstPca]:
    """By labels where there are labels to train for, by text where there are captions, else by recall."""
    measures = {
        "labels": ("precision", "right"),
        "pairs": ("precision",),
        "captions": ("by_text",),
        "self": ("recall",),
    }
    heads = {each.dim: each for each in judged if each.way == "head"}
    found = []
    for measure in measures[objective]:
        for each in judged:
            if each.way != "pca":
                continue
            more = gain(getattr(heads[each.dim], measure), getattr(each, measure), own_M)
            if more is not None:
                how = {"difference": more.mean, "low": more.low, "high": more.high}
                found.append(HeadAgainstPca(dim=each.dim, measure=measure, **how))
    return found


def _mean(values: np.ndarray | None) -> float | None:
    if values is None or not np.isfinite(values).any():
        return None
    return round(float(np.nanmean(values)), 6)


def as_text(report: TrainHeadReport) -> str:
    """A few lines for a person."""
    hidden = f" with {report.hidden} hidden units" if report.hidden else ""
    resumed = "" if report.resumed_at is None else f", went on from step {report.resumed_at:,}"
    return "\n".join(
        [
            f"head       {report.input_dim} -> {', '.join(map(str, report.dims))}{hidden}, by {report.objective}",
            f"trained    on {report.trained:,} vectors of {report.column}, version {report.version} of {report.table}; "
            f"{report.steps:,} steps{resumed}; best by {report.held_out:,} held-out rows: step {report.best_step:,}",
            f"tested     on {report.tested:,} rows that had no part in it",
            *_rows(report.figures),
            f"verdict    {report.advice}",
            f"artifact   {report.uri}",
            f"sha256     {report.sha256}",
            f"use it     pixlake reduce {report.table} {report.column}_head{report.dims[-1]} "
            f"--head {json.dumps(report.uri)[1:-1]}"
            + (f" --truncate {report.dims[-1]}" if len(report.dims) > 1 else ""),
        ]
    )


def _rows(figures: list[HeadFigures]) -> list[str]:
    shown = [name for name in MEASURES if any(getattr(each, name) is not None for each in figures)]
    lines = [f"           {'':22}" + "".join(f"{MEASURES[name]:>16}" for name in shown)]
    for each in figures:
        values = (getattr(each, name) for name in shown)
        cells = "".join(f"{'-' if value is None else f'{value:.4f}':>16}" for value in values)
        lines.append(f"           {f'{each.dim} {WORDS[each.way]}':22}{cells}")
    return lines
