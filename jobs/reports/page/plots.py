"""Drawings by matplotlib: SVG for a page, in the colours of a light and of a dark one; PNG for a file."""

import base64
import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jobs.reports.page.blocks import PagePlot

COLOURS = ("#3b78c2", "#d97a1e", "#3d9a5b", "#c2506b", "#8a6bbf", "#8c7a4f", "#3aa3a8", "#777f8c")
"""Of one thing after another: seen on white and on dark ground."""

Draw = Callable[[Any], None]
"""Draws on a matplotlib `Figure`."""

_LIGHT, _DARK = ("#ffffff", "#1c2330", "#d5dae2"), ("#14181f", "#e6e9ee", "#353d4a")
"""(ground, text, lines), as in `style.css`."""
_settings = threading.Lock()
"""Held while drawing: matplotlib's settings are those of the whole process."""


def plot(draw: Draw, *, alt: str, caption: str = "", size: tuple[float, float] = (9.0, 5.0)) -> PagePlot:
    """What `draw` draws, as an SVG of `size` inches for each colouring. The same drawing gives the same bytes."""
    light, dark = (_data_uri(_drawn(draw, size, colours, "svg")) for colours in (_LIGHT, _DARK))
    return PagePlot(light=light, dark=dark, alt=alt, caption=caption)


def plot_png(draw: Draw, *, size: tuple[float, float] = (9.0, 5.0)) -> bytes:
    """What `draw` draws, as a PNG of 120 pixels an inch on white."""
    return _drawn(draw, size, _LIGHT, "png")


def _data_uri(svg: bytes) -> str:
    # An SVG that is shown as an image runs nothing and loads nothing, whatever is in it.
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _drawn(draw: Draw, size: tuple[float, float], colours: tuple[str, str, str], kind: str) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _coloured(*colours):
        figure = Figure(figsize=size, dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        out = io.BytesIO()
        figure.savefig(out, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return out.getvalue()


@contextmanager
def _coloured(ground: str, text: str, lines: str) -> Iterator[None]:
    import matplotlib
    from cycler import cycler

    named = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), text)
    settings = named | {
        "figure.facecolor": ground,
        "savefig.facecolor": ground,
        "axes.facecolor": ground,
        "legend.facecolor": ground,
        "axes.edgecolor": lines,
        "grid.color": lines,
        "legend.edgecolor": lines,
        "axes.prop_cycle": cycler(color=COLOURS),
        "axes.spines.top": False,
        "axes.spines.right": False,
        # A name with two dollar signs is no formula.
        "text.parse_math": False,
        "svg.hashsalt": "pixlake",
    }
    with _settings, matplotlib.rc_context(settings), warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes; to say so for each of them helps nobody.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield
