"""CLIP-like models through open_clip: the image tower for jobs, the text tower for queries."""

import logging
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.pretrained import download_pretrained, download_pretrained_from_hf
from open_clip.transformer import QuickGELU

from operators.failures import clean_message
from operators.models.load import ImageEmbedder, Runtime, TextEmbedder
from operators.models.open_clip_training import training_of
from operators.models.spec import ModelDescription, ModelError, ModelSpec
from operators.models.torch_embedder import TorchEmbedder
from operators.models.weights import check_unchanged, check_weights, sha256_of_module
from operators.preprocess import Preprocess
from operators.storage import StorageOptions

# open_clip logs every step, and a warning for the random weights that were asked for, on the root logger.
logging.getLogger().setLevel(logging.ERROR)


def _hub_id(spec: ModelSpec) -> str | None:
    return spec.architecture.removeprefix("hf-hub:") if spec.architecture.startswith("hf-hub:") else None


def _check_architecture(spec: ModelSpec) -> None:
    if _hub_id(spec) or spec.architecture in open_clip.list_models():
        return
    near = sorted((m for m in open_clip.list_models() if spec.architecture.lower() in m.lower()), key=len)[:5]
    hint = f"; near it: {', '.join(near)}" if near else "; `pixlake models open_clip` lists them"
    raise ModelError(f"model {spec.name!r}: open_clip has no architecture {spec.architecture!r}{hint}")


def _weights_path(spec: ModelSpec) -> str | None:
    """The weights file on this node, downloaded from the hub if need be; None for random weights."""
    if spec.seed is not None:
        return None
    if spec.weights:
        return spec.weights
    try:
        if hub_id := _hub_id(spec):
            return str(download_pretrained_from_hf(hub_id))
        config = open_clip.get_pretrained_cfg(spec.architecture, spec.pretrained or "")
        if not config:
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(spec.architecture)) or "none"
            raise ModelError(
                f"model {spec.name!r}: open_clip has no weights {spec.pretrained!r} for {spec.architecture}; "
                f"it has: {tags}"
            )
        return str(download_pretrained(config))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"model {spec.name!r}: the weights could not be downloaded ({clean_message(str(error))}). "
            f"Check the network, or name a file: open_clip:{spec.architecture}@/path/weights.safetensors"
        ) from error


def _load(spec: ModelSpec) -> tuple[Any, str]:
    """The whole model and the sha256 of its weights."""
    _check_architecture(spec)
    path = _weights_path(spec)
    training = training_of(spec)
    options = {"force_quick_gelu": training.quick_gelu, "force_preprocess_cfg": training.preprocess}
    if path is None:
        torch.manual_seed(spec.seed or 0)
        module = open_clip.create_model(spec.architecture, pretrained_text=False, **options)
        return module.eval(), sha256_of_module(module)
    digest = check_weights(spec, path)
    pretrained = None if _hub_id(spec) else (spec.pretrained or path)
    try:
        module = open_clip.create_model(spec.architecture, pretrained=pretrained, require_pretrained=True, **options)
    except Exception as error:
        raise ModelError(f"model {spec.name!r}: {path} cannot be loaded: {clean_message(str(error))}") from error
    return module.eval(), digest


def _preprocess(module: Any) -> Preprocess:
    config = open_clip.get_model_preprocess_cfg(module)
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    return Preprocess(
        height=height,
        width=width,
        resize=config["resize_mode"],
        resize_height=height,
        resize_width=width,
        interpolation=config["interpolation"],
        fill=(config["fill_color"],) * 3,
        mean=config["mean"],
        std=config["std"],
    )


class _ImageTower(torch.nn.Module):
    """CLIP's visual tower; CoCa's gives its tokens beside the pooled vector, which alone is wanted."""

    def __init__(self, visual: torch.nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, pixels_NCHW: torch.Tensor) -> torch.Tensor:
        out = self.visual(pixels_NCHW)
        pooled: torch.Tensor = out[0] if isinstance(out, tuple) else out
        return pooled


def describe(spec: ModelSpec, storage: StorageOptions) -> ModelDescription:
    module, digest = _load(spec)
    preprocess = _preprocess(module)
    tower = _ImageTower(module.visual)
    with torch.inference_mode():
        vectors = tower(torch.zeros(1, 3, preprocess.height, preprocess.width))
    return ModelDescription(
        spec=spec,
        dim=vectors.shape[1],
        preprocess=preprocess,
        weights_sha256=digest,
        text=hasattr(module, "encode_text"),
        quick_gelu=any(isinstance(part, QuickGELU) for part in module.modules()),
        num_parameters=sum(p.numel() for p in tower.parameters()),
    )


def load_image_embedder(description: ModelDescription, runtime: Runtime) -> ImageEmbedder:
    module, digest = _load(description.spec)
    check_unchanged(description, digest)
    return TorchEmbedder(_ImageTower(module.visual), description.preprocess, runtime)


class _Texts:
    def __init__(self, module: Any, spec: ModelSpec) -> None:
        self.module = module
        self.tokenizer = open_clip.get_tokenizer(spec.architecture)

    def embed(self, texts: list[str]) -> np.ndarray:
        with torch.inference_mode():
            vectors: np.ndarray = self.module.encode_text(self.tokenizer(texts)).float().numpy()
        return vectors


def load_text_embedder(description: ModelDescription, storage: StorageOptions) -> TextEmbedder:
    module, digest = _load(description.spec)
    check_unchanged(description, digest)
    return _Texts(module, description.spec)
