"""What families of towers share: the description of an image tower, and its weights on a worker."""

from typing import Any

import torch

from operators.base.errors import clean_message
from operators.models.spec import ModelDescription, ModelError, ModelSpec
from operators.models.weights.find import LocalWeights, find_weights
from operators.pixels.preprocess import Preprocess
from operators.storage.stores import StorageOptions


def describe_tower(
    spec: ModelSpec,
    tower: torch.nn.Module,
    preprocess: Preprocess,
    *,
    weights_sha256: str,
    weights_uri: str | None = None,
    text: bool = False,
    quick_gelu: bool = False,
    network: Any = None,
    architecture_config: dict[str, Any] | None = None,
    notes: tuple[str, ...] = (),
) -> ModelDescription:
    """The description of an image tower. `tower` maps normalised (N, 3, H, W) to (N, dim); `network` says what it is,
    where its name does not.

    Raises `ModelError` for a size that the tower does not take.
    """
    return ModelDescription(
        spec=spec,
        dim=_dim(spec, tower, preprocess),
        preprocess=preprocess,
        network=spec.architecture if network is None else network,
        weights_sha256=weights_sha256,
        weights_uri=weights_uri,
        architecture_config=architecture_config,
        text=text,
        quick_gelu=quick_gelu,
        num_parameters=sum(p.numel() for p in tower.parameters()),
        notes=notes,
    )


def weights_on_worker(description: ModelDescription, storage: StorageOptions) -> LocalWeights | None:
    """The very file that the run was planned with; None for random weights."""
    if description.weights_uri is None:
        return None
    return find_weights(description.spec, description.weights_uri, storage, description.weights_sha256)


def _dim(spec: ModelSpec, tower: torch.nn.Module, preprocess: Preprocess) -> int:
    """Length of the vectors of one forward pass, which also shows whether the network takes the size."""
    try:
        with torch.inference_mode():
            return int(tower.eval()(torch.zeros(1, 3, preprocess.height, preprocess.width)).shape[1])
    except ModelError:
        raise
    except Exception as error:
        reason = clean_message(str(error)) or type(error).__name__
        raise ModelError(
            f"model {spec.name!r}: {spec.architecture} takes no images of {preprocess.height} x {preprocess.width}: "
            f"{reason}. Set model.preprocess.image_size to a size that it takes, or leave it out"
        ) from error
