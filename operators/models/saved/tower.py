"""The network of a saved model: a base's image tower, a projection behind it, and a text tower where there is one."""

from importlib import import_module
from typing import Any

import torch
from safetensors import safe_open

from operators.models.families import FAMILIES
from operators.models.load import load_image_embedder, load_text_embedder
from operators.models.runtime import Runtime
from operators.models.saved.card import ModelCard, SavedProjection
from operators.models.saved.room import Room
from operators.models.spec import ModelDescription, ModelError, ModelSpec
from operators.models.weights.find import LocalWeights
from operators.models.weights.tensors import StateDict, apply_state_dict
from operators.storage.stores import NO_OPTIONS, StorageOptions

IMAGE, PROJECTION, TEXT = "image.", "projection.", "text."


class Projection(torch.nn.Module):
    """(N, inputs) to (N, outputs): brought to unit length if `normalize`, without `mean`, times `weight`, plus `bias`.

    `weight` starts orthogonal, `mean` and `bias` at 0. `mean` is a buffer: it is measured, and not learnt.
    """

    def __init__(
        self, inputs: int, outputs: int, *, normalize: bool = False, mean: bool = False, bias: bool = False
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.weight = torch.nn.Parameter(torch.empty(outputs, inputs))
        torch.nn.init.orthogonal_(self.weight)
        self.mean: torch.Tensor | None
        self.register_buffer("mean", torch.zeros(inputs) if mean else None)
        self.bias = torch.nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, vectors_ND: torch.Tensor) -> torch.Tensor:
        if self.normalize:
            vectors_ND = torch.nn.functional.normalize(vectors_ND, dim=1)
        if self.mean is not None:
            vectors_ND = vectors_ND - self.mean
        return torch.nn.functional.linear(vectors_ND, self.weight, self.bias)

    def describe(self) -> SavedProjection:
        outputs, inputs = self.weight.shape
        return SavedProjection(
            inputs=inputs,
            outputs=outputs,
            normalize=self.normalize,
            mean=self.mean is not None,
            bias=self.bias is not None,
        )


class OwnTower(torch.nn.Module):
    """`forward` maps normalised (N, 3, H, W) to (N, dim); `embed_tokens` (N, context length) token ids to (N, dim).

    A projection is of the joint space: the text tower's vectors go through it as the images' do.
    """

    def __init__(
        self, image: torch.nn.Module, projection: Projection | None = None, text: torch.nn.Module | None = None
    ) -> None:
        super().__init__()
        self.image = image
        self.projection = projection
        self.text = text
        self.tokenizer: Any = None
        """From N texts to (N, context length) token ids, where there is a text tower."""

    def forward(self, pixels_NCHW: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.image(pixels_NCHW)
        return vectors if self.projection is None else self.projection(vectors)  # type: ignore[no-any-return]

    def embed_tokens(self, tokens_NT: torch.Tensor) -> torch.Tensor:
        assert self.text is not None
        out = self.text(tokens_NT)
        vectors: torch.Tensor = out[0] if isinstance(out, tuple) else out
        return vectors if self.projection is None else self.projection(vectors)  # type: ignore[no-any-return]


def trainable_tower(
    description: ModelDescription, storage: StorageOptions = NO_OPTIONS, *, text: bool = False
) -> OwnTower:
    """The network of any described model of timm, open_clip, efficientnet-lite0 or saved, with its weights, on the CPU
    in float32, in evaluation mode, its parameters ready to be trained; with its text tower and tokenizer if `text`.

    Raises `ModelError` for other families, and where there is no text tower.
    """
    embedder: Any = load_image_embedder(description, Runtime(storage=storage, batch_size=1))
    if not isinstance(getattr(embedder, "tower", None), torch.nn.Module):
        raise ModelError(
            f"model {description.spec.name!r}: is no network that can be trained here; use a model of timm or "
            "open_clip, efficientnet-lite0, or one of your own"
        )
    found = embedder.tower
    tower = found if isinstance(found, OwnTower) else OwnTower(found)
    if text:
        texts: Any = load_text_embedder(description, storage)
        tower.text, tower.tokenizer = texts.tower, texts.tokenizer
    return tower.requires_grad_(True)


def saved_image(spec: ModelSpec, card: ModelCard, weights: LocalWeights) -> OwnTower:
    """The network of a card without its text tower, with its weights. Raises `ModelError` where they do not fit."""
    family = import_module(FAMILIES[card.network.family])
    with Room(spec, weights):
        image: torch.nn.Module = family.fresh_tower(card.network.spec(spec.name), card.network.config)
        tower = OwnTower(image, _fresh_projection(card))
    return _filled(spec, card, tower, weights, wanted=(IMAGE, PROJECTION))


def saved_text(spec: ModelSpec, card: ModelCard, weights: LocalWeights) -> OwnTower:
    """The text tower of a card and its projection, with their weights. Raises `ModelError` where they do not fit."""
    family = import_module(FAMILIES[card.network.family])
    with Room(spec, weights):
        text: torch.nn.Module = family.fresh_text_tower(card.network.spec(spec.name), card.network.config)
        tower = OwnTower(torch.nn.Identity(), _fresh_projection(card), text)
    return _filled(spec, card, tower, weights, wanted=(TEXT, PROJECTION))


def tokenizer_of_card(spec: ModelSpec, card: ModelCard) -> Any:
    """From N texts to (N, context length) token ids. Raises `ModelError`."""
    family = import_module(FAMILIES[card.network.family])
    return family.tokenizer_of_tower(card.network.spec(spec.name), card.network.config)


def _fresh_projection(card: ModelCard) -> Projection | None:
    own = card.projection
    if own is None:
        return None
    return Projection(own.inputs, own.outputs, normalize=own.normalize, mean=own.mean, bias=own.bias)


def _filled(
    spec: ModelSpec, card: ModelCard, tower: OwnTower, weights: LocalWeights, *, wanted: tuple[str, ...]
) -> OwnTower:
    """Put the tensors whose names start with one of `wanted` in. Raises `ModelError` for a tensor that is missing, too
    many, of another shape or type, or that holds NaN or infinity."""
    with safe_open(weights.path, framework="pt") as file:  # type: ignore[no-untyped-call]
        names = list(file.keys())
        strange = [name for name in names if not name.startswith((IMAGE, PROJECTION, TEXT))]
        if strange:
            raise ModelError(f"model {spec.name!r}: {weights.uri} holds {strange[0]!r}, which no saved model has")
        state: StateDict = {name: file.get_tensor(name) for name in names if name.startswith(wanted)}
    expected = tower.state_dict()
    for name, tensor in state.items():
        if name in expected and tensor.dtype != expected[name].dtype:
            raise ModelError(
                f"model {spec.name!r}: {weights.uri}: {name} is {tensor.dtype}, expected {expected[name].dtype}; "
                "copy the folder again from where it was made"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(
                f"model {spec.name!r}: {weights.uri}: {name} holds NaN or infinity, so that no vector would mean "
                "anything; train the model again with a lower learning rate"
            )
    apply_state_dict(card.network.spec(spec.name), tower, state)
    return tower.eval()
