"""A comparison as one picture: where both samples lie, how the masses of clusters moved, how far what came is from what
was there."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

_POINTS = 2000
"""Points of a sample that are drawn."""
_BEFORE, _AFTER = "#4477aa", "#ee6677"


@dataclass(frozen=True, kw_only=True)
class DriftPicture:
    """What is drawn of two samples of one space."""

    title: str
    before: np.ndarray
    """(N, 2): the sample along the first two principal components of both together."""
    after: np.ndarray
    masses: np.ndarray
    """(2, C): the share of each sample in each cluster; no columns where none was compared."""
    cosines_before: np.ndarray
    """(A,): of images to the nearest other one in their own sample of what was there."""
    cosines_after: np.ndarray
    """(B,): of images of the later sample to the nearest in the earlier one."""


def draw_drift(picture: DriftPicture) -> bytes:
    """A PNG with three panels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(18, 5.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    places, clusters, nearness = figure.subplots(1, 3)
    for points, colour, label in ((picture.before, _BEFORE, "before"), (picture.after, _AFTER, "after")):
        shown = points[:: max(1, len(points) // _POINTS)]
        places.scatter(shown[:, 0], shown[:, 1], s=8, alpha=0.5, color=colour, label=label, linewidths=0)
    places.set_xlabel("first principal component")
    places.set_ylabel("second")
    places.legend()
    _draw_masses(clusters, picture.masses)
    _draw_nearness(nearness, picture)
    figure.suptitle(picture.title)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _draw_masses(panel: Any, masses: np.ndarray) -> None:
    order = np.argsort(masses[0] - masses[1])
    at = np.arange(masses.shape[1])
    panel.bar(at - 0.2, masses[0][order], 0.4, color=_BEFORE)
    panel.bar(at + 0.2, masses[1][order], 0.4, color=_AFTER)
    panel.set_xlabel("clusters of what was there: those that grew most first")
    panel.set_ylabel("share of the images")


def _draw_nearness(panel: Any, picture: DriftPicture) -> None:
    both = np.concatenate([picture.cosines_before, picture.cosines_after])
    bins = np.linspace(both.min(), max(both.max(), both.min() + 1e-6), 40) if len(both) else np.linspace(0, 1, 40)
    for values, colour in ((picture.cosines_before, _BEFORE), (picture.cosines_after, _AFTER)):
        if len(values):
            panel.hist(values, bins, weights=np.full(len(values), 1 / len(values)), color=colour, alpha=0.6)
    panel.set_xlabel("cosine to the nearest other image that was there")
    panel.set_ylabel("share of the images")
