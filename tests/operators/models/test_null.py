"""The null model against its closed form."""

import numpy as np
import pytest

from operators.models.load import describe, load_image_embedder, load_text_embedder
from operators.models.null import MeanColours
from operators.models.runtime import Runtime
from operators.models.spec import ModelError, parse_model_name
from operators.pixels.preprocess import PreprocessOverrides

MODEL = describe(parse_model_name("null"))


def test_every_component_is_the_mean_of_one_cell_and_colour() -> None:
    """Pixels that are constant in a cell: the vector lists them, cell rows first, colours last."""
    cells = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    vectors = MeanColours().embed(cells.repeat(28, 1).repeat(28, 2))
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, cells.reshape(3, 192) / 255, atol=1e-6)


def test_noise_gives_the_means_that_numpy_gives() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), np.uint8)
    expected = pixels.reshape(2, 8, 28, 8, 28, 3).mean((2, 4)) / 255
    assert np.allclose(MeanColours().embed(pixels), expected.reshape(2, -1), atol=1e-6)


def test_white_is_one_and_nothing_overflows() -> None:
    white = np.full((1, 224, 224, 3), 255, np.uint8)
    assert np.allclose(MeanColours().embed(white), 1)


def test_the_description_says_what_the_embedder_gives() -> None:
    embedder = load_image_embedder(MODEL, Runtime(precision="float32", batch_size=4))
    shape = (5, MODEL.preprocess.height, MODEL.preprocess.width, 3)
    assert embedder.embed(np.zeros(shape, np.uint8)).shape == (5, MODEL.dim)


def test_there_is_no_text_tower() -> None:
    with pytest.raises(ModelError, match=r"model 'null' has no text tower: search this table by --image or --id"):
        load_text_embedder(MODEL)


def test_what_would_change_nothing_is_refused() -> None:
    overrides = PreprocessOverrides(image_size=128, mean=(0.5, 0.5, 0.5))
    changed = {"pooling": "gem", "layer": 0, "preprocess": overrides}
    with pytest.raises(ModelError) as error:
        describe(parse_model_name("null").model_copy(update=changed))
    for option in ("model.pooling", "model.layer", "model.preprocess.image_size", "model.preprocess.mean"):
        assert option in str(error.value)
    assert "model.preprocess.std" not in str(error.value)


def test_how_it_is_resized_can_be_chosen() -> None:
    spec = parse_model_name("null").model_copy(update={"preprocess": PreprocessOverrides(resize="squash")})
    assert describe(spec).preprocess == MODEL.preprocess.model_copy(update={"resize": "squash"})
