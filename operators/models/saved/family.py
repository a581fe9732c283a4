"""Models of one's own: what `pixlake tune` and `pixlake distil` have saved in a folder, by its path or URI."""

from collections.abc import Callable

import numpy as np
import torch

from operators.models.load import ImageEmbedder, TextEmbedder
from operators.models.runtime import Runtime
from operators.models.saved.card import ModelCard, card_of
from operators.models.saved.folder import find_saved_weights, read_card, weights_of_run
from operators.models.saved.tower import OwnTower, saved_image, saved_text, tokenizer_of_card
from operators.models.spec import ModelDescription, ModelError, ModelOptions, ModelSpec
from operators.models.towers.embedder import TorchEmbedder
from operators.models.towers.tower import describe_tower
from operators.storage.stores import StorageOptions


def describe(spec: ModelSpec, storage: StorageOptions) -> ModelDescription:
    _check_nothing_is_set(spec)
    card = read_card(spec, storage)
    weights = find_saved_weights(spec, card, storage)
    tower = saved_image(spec, card, weights)
    description = describe_tower(
        spec,
        tower,
        card.preprocess,
        weights_sha256=weights.sha256,
        weights_uri=weights.uri,
        text=card.text != "absent",
        quick_gelu=card.network.quick_gelu,
        network=network_of(card),
        architecture_config=card.model_dump(mode="json"),
    )
    if description.dim != card.dim:
        raise ModelError(
            f"model {spec.name!r}: its card says {card.dim} dimensions, and its network gives {description.dim}; copy "
            "the folder again from where it was made"
        )
    return description


def network_of(card: ModelCard) -> dict[str, object]:
    """What the space knows the network by: its name, so that a model's vectors are its own, and all that is built."""
    own = card.network
    built = own.model_dump(mode="json", include={"family", "network", "pooling", "layer"})
    built |= {"gem_power": own.gem_power if own.pooling == "gem" else None}
    built |= {"final_norm": own.final_norm if own.layer is not None else None}
    projection = card.projection.model_dump(mode="json") if card.projection else None
    return {"name": card.name, "base": built, "projection": projection}


def load_image_embedder(description: ModelDescription, runtime: Runtime) -> ImageEmbedder:
    spec, card = description.spec, card_of(description)
    weights = weights_of_run(description, runtime.storage)
    tower = saved_image(spec, card, weights)
    return TorchEmbedder(tower, description.preprocess, runtime)


def load_text_embedder(description: ModelDescription, storage: StorageOptions) -> TextEmbedder:
    spec, card = description.spec, card_of(description)
    weights = weights_of_run(description, storage)
    tower = saved_text(spec, card, weights)
    return SavedTexts(tower, tokenizer_of_card(spec, card))


class SavedTexts:
    """The text tower of a saved model, with its projection."""

    def __init__(self, own: OwnTower, tokenizer: Callable[[list[str]], torch.Tensor]) -> None:
        self.own = own.eval().requires_grad_(False)
        self.tower, self.tokenizer = own.text, tokenizer

    def embed(self, texts: list[str]) -> np.ndarray:
        with torch.inference_mode():
            vectors: np.ndarray = self.own.embed_tokens(self.tokenizer(texts)).float().numpy()
        return vectors


def _check_nothing_is_set(spec: ModelSpec) -> None:
    """Raises `ModelError` where the user sets what the model was trained with."""
    own = ModelOptions()
    set_here = [name for name in ModelOptions.model_fields if getattr(spec, name) != getattr(own, name)]
    if set_here:
        raise ModelError(
            f"model {spec.name!r}: model.{set_here[0]} is part of a saved model, as it was trained; leave it out"
        )
