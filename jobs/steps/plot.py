"""A training as one picture: its losses by step, and its figures on held-out rows."""

import io
from collections.abc import Sequence

WORDS = {"1nn": "1-NN", "recall": "recall@10"}
"""What a figure is called to a person; any other by its name without underscores."""


def figure_words(name: str) -> str:
    """`held out 1-NN` for `held_out_1nn`."""
    start, _, last = name.rpartition("_")
    return " ".join((*start.split("_"), WORDS.get(last, last))).strip()


def draw_history(history: Sequence[dict[str, float]], best_step: int) -> bytes:
    """A PNG with the losses above, and below all other figures, where there are; the step that was kept is marked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [name for name in dict.fromkeys(name for entry in history for name in entry) if name != "step"]
    losses = [name for name in names if name.endswith("loss")]
    rows = [each for each in (losses, [name for name in names if name not in losses]) if each]
    figure = Figure(figsize=(7.5, 3.2 * len(rows)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    for panel, shown in zip(panels, rows, strict=True):
        for name in shown:
            points = [(entry["step"], entry[name]) for entry in history if name in entry]
            panel.plot(*zip(*points, strict=True), marker=".", label=figure_words(name))
        panel.axvline(best_step, color="0.5", linestyle=":", label=f"kept: step {best_step:,}")
        panel.grid(alpha=0.3)
        panel.legend()
    panels[-1].set_xlabel("step")
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
