"""An evaluation as one picture: recall against bytes, and against time."""

import io
from typing import Any, NamedTuple

from jobs.reports.evaluation import Evaluation

K = 10
_DOT = 6
"""Pixels that a dot needs around its middle."""
_LINE = 11
"""Points between the lines on which names are tried: near lines first, right and left of the way's own point."""
_PLACES = [(side, line) for line in sorted(range(-12, 13), key=abs) for side in (1, -1)]


class Point(NamedTuple):
    """One way of searching in the picture."""

    name: str
    model: str
    recall: float
    """recall@10, or at as many as there are rows."""
    bytes_per_vector: float
    p50_ms: float | None


def points(evaluation: Evaluation) -> list[Point]:
    """The points in the report's order, their names beginning with the column."""
    return [
        Point(
            name=way.name,
            model=f"{group.column}: {group.model}",
            recall=way.recall[_shown_k(way.recall)],
            bytes_per_vector=way.bytes_per_vector,
            p50_ms=way.p50_ms,
        )
        for group in evaluation.models
        for way in group.ways
    ]


def draw(evaluation: Evaluation) -> bytes:
    """A PNG with two panels, or one where nothing was timed, the ways of each model in one colour."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = points(evaluation)
    shown = {"bytes_per_vector": "bytes per vector"}
    if all(point.p50_ms is not None for point in drawn):
        shown["p50_ms"] = "ms for one query (p50)"
    figure = Figure(figsize=(7.5 * len(shown), 6.5), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for panel, (attribute, unit) in zip(panels, shown.items(), strict=True):
        _panel(panel, drawn, attribute)
        panel.set_xlabel(unit)
    k = min(_shown_k(way.recall) for group in evaluation.models for way in group.ways)
    panels[0].set_ylabel(f"recall@{k} against the model's own vectors, compared exactly in float32")
    if len(evaluation.models) > 1:
        panels[0].legend(loc="lower right")
    figure.suptitle(f"{evaluation.table}, version {evaluation.version}")
    figure.draw_without_rendering()
    for panel, attribute in zip(panels, shown, strict=True):
        _name_points(canvas.get_renderer(), panel, drawn, attribute)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _shown_k(recall: dict[int, float]) -> int:
    return max(k for k in recall if k <= K)


def _panel(panel: Any, drawn: list[Point], attribute: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for model in dict.fromkeys(point.model for point in drawn):
        own = [point for point in drawn if point.model == model]
        panel.scatter([getattr(p, attribute) for p in own], [p.recall for p in own], s=30, label=model, zorder=3)
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.margins(x=0.25, y=0.2)
    panel.grid(alpha=0.3, which="both")


def _name_points(renderer: Any, panel: Any, drawn: list[Point], attribute: str) -> None:
    """Each name beside its point, where it covers neither another name nor another point, if there is such a place."""
    from matplotlib.text import Text

    inside = panel.get_window_extent()
    places = [(getattr(point, attribute), point.recall) for point in drawn]
    centres = panel.transData.transform(places)
    taken: list[Any] = []
    for at, (point, place) in enumerate(zip(drawn, places, strict=True)):
        others = [centre for other, centre in enumerate(centres) if other != at]
        for side, line in _PLACES:
            text = panel.annotate(
                point.name,
                place,
                (10 * side, _LINE * line),
                textcoords="offset points",
                ha="left" if side > 0 else "right",
                va="center",
                fontsize=8.5,
                arrowprops={"arrowstyle": "-", "lw": 0.5, "color": "0.5", "shrinkA": 0},
            )
            text.update_positions(renderer)
            # Of the words alone: an annotation's own extent has its line in it.
            box = Text.get_window_extent(text, renderer).padded(3)
            covers = any(map(box.overlaps, taken)) or any(box.padded(_DOT).contains(*other) for other in others)
            if not covers and inside.contains(*box.min) and inside.contains(*box.max):
                break
            text.remove()
        else:
            panel.add_artist(text)
        taken.append(box)
