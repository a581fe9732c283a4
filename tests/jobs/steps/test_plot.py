"""The picture of a training, and its line on stderr."""

import io

from PIL import Image

from jobs.steps.plot import draw_history, figure_words
from jobs.steps.run import as_words

HISTORY = [
    {"step": 0.0, "held_out_loss": 3.0, "held_out_1nn": 0.5},
    {"step": 25.0, "loss": 2.5, "held_out_loss": 2.0, "held_out_1nn": 0.75},
]


def test_losses_and_figures_have_a_panel_each() -> None:
    both, alone = (
        Image.open(io.BytesIO(draw_history(history, 25)))
        for history in (HISTORY, [{"step": 0.0, "held_out_loss": 3.0}])
    )
    assert both.format == "PNG"
    assert both.height == 2 * alone.height


def test_figures_have_words() -> None:
    assert figure_words("held_out_1nn") == "held out 1-NN"
    assert figure_words("loss") == "loss"
    said = "step 25 of 1,000 at most: loss 2.5000; held out: loss 2.0000, 1-NN 0.7500"
    assert as_words(HISTORY[1], 1000) == said
