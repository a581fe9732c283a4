"""Vision models through timm: pooled features without the classifier."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm
import torch
from huggingface_hub import hf_hub_download

from operators.failures import clean_message
from operators.models.load import ImageEmbedder, Runtime
from operators.models.spec import ModelDescription, ModelError, ModelSpec
from operators.models.torch_embedder import TorchEmbedder
from operators.models.weights import check_unchanged, check_weights, sha256_of_module
from operators.preprocess import Preprocess
from operators.storage import StorageOptions

RESIZE = {"center": "shortest", "squash": "squash", "border": "longest"}


def _check_architecture(spec: ModelSpec) -> None:
    bare = spec.architecture.split(".")[0]
    if spec.architecture.startswith("hf-hub:") or timm.is_model(bare):
        return
    near = sorted(timm.list_models(f"*{bare}*"), key=len)[:5]
    hint = f"; near it: {', '.join(near)}" if near else "; `pixlake models timm` lists them"
    raise ModelError(f"model {spec.name!r}: timm has no architecture {bare!r}{hint}")


def _weights_path(spec: ModelSpec) -> str:
    """The weights file on this node, downloaded from the hub if need be."""
    if spec.weights:
        return spec.weights
    hub_id = spec.architecture.removeprefix("hf-hub:")
    if hub_id == spec.architecture:
        bare, _, tag = spec.architecture.partition(".")
        known = timm.list_pretrained(f"{bare}.*")
        config = timm.get_pretrained_cfg(spec.architecture) if not tag or spec.architecture in known else None
        if config is None or not config.hf_hub_id:
            raise ModelError(f"model {spec.name!r}: timm has no such weights on the hub; it has: {', '.join(known)}")
        hub_id = config.hf_hub_id
    try:
        return str(hf_hub_download(hub_id, "model.safetensors"))
    except Exception as error:
        raise ModelError(
            f"model {spec.name!r}: model.safetensors of {hub_id} could not be downloaded "
            f"({clean_message(str(error))}). Check the network, or name a file: "
            f"timm:{spec.architecture}@/path/model.safetensors"
        ) from error


def _load(spec: ModelSpec) -> tuple[torch.nn.Module, str]:
    """The network without classifier and the sha256 of its weights."""
    _check_architecture(spec)
    if spec.seed is not None:
        torch.manual_seed(spec.seed)
        module = timm.create_model(spec.architecture, num_classes=0)
        return module.eval(), sha256_of_module(module)
    path = _weights_path(spec)
    digest = check_weights(spec, path)
    # 65 of timm's weights have `custom_load`, for an .npz of their authors; the hub's safetensors are plain.
    overlay = {"file": path, "source": None, "custom_load": path.endswith(".npz")}
    try:
        with _missing_tensors() as missing:
            module = timm.create_model(
                spec.architecture, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay
            )
    except Exception as error:
        raise ModelError(f"model {spec.name!r}: {path} cannot be loaded: {clean_message(str(error))}") from error
    if missing:
        raise ModelError(
            f"model {spec.name!r}: {path} does not fit {spec.architecture}; it lacks {', '.join(missing)[:600]}"
        )
    return module.eval(), digest


@contextmanager
def _missing_tensors() -> Iterator[list[str]]:
    """Filled with the tensors that a file lacked, left random: a load without classifier is lenient, and timm tells
    its log alone."""
    found: list[str] = []
    prefix, logger = "Missing keys (", logging.getLogger("timm.models._builder")

    def keep(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if text.startswith(prefix):
            found.extend(text.removeprefix(prefix).partition(")")[0].split(", "))
        return False

    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addFilter(keep)
    try:
        yield found
    finally:
        logger.removeFilter(keep)
        logger.setLevel(before)


def _preprocess(spec: ModelSpec, module: torch.nn.Module) -> Preprocess:
    config: dict[str, Any] = timm.data.resolve_model_data_config(module)
    _, height, width = config["input_size"]
    if config["interpolation"] not in ("nearest", "bilinear", "bicubic"):
        raise ModelError(f"model {spec.name!r}: interpolation {config['interpolation']!r} is not supported")
    resize = RESIZE[config["crop_mode"]]
    return Preprocess.model_validate(
        {
            "height": height,
            "width": width,
            "resize": resize,
            "resize_height": math.floor(height / config["crop_pct"]),
            "resize_width": math.floor(width / config["crop_pct"]),
            "interpolation": config["interpolation"],
            "fill": [round(255 * v) for v in config["mean"]] if resize == "longest" else [0, 0, 0],
            "mean": config["mean"],
            "std": config["std"],
        }
    )


def describe(spec: ModelSpec, storage: StorageOptions) -> ModelDescription:
    module, digest = _load(spec)
    preprocess = _preprocess(spec, module)
    with torch.inference_mode():
        vectors = module(torch.zeros(1, 3, preprocess.height, preprocess.width))
    return ModelDescription(
        spec=spec,
        dim=vectors.shape[1],
        preprocess=preprocess,
        weights_sha256=digest,
        text=False,
        num_parameters=sum(p.numel() for p in module.parameters()),
    )


def load_image_embedder(description: ModelDescription, runtime: Runtime) -> ImageEmbedder:
    module, digest = _load(description.spec)
    check_unchanged(description, digest)
    return TorchEmbedder(module, description.preprocess, runtime)
