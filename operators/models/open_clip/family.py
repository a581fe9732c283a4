"""CLIP-like models through open_clip: the image tower alone for jobs, the text tower alone for queries."""

import logging
from typing import Any

import torch
from open_clip.transformer import VisionTransformer
from pydantic import ValidationError

from operators.models.load import ImageEmbedder, TextEmbedder
from operators.models.open_clip.architecture import architecture_of, checked_config
from operators.models.open_clip.features import image_features, in_joint_space
from operators.models.open_clip.text import OpenClipTexts, Tokenizer, tokenizer_of
from operators.models.open_clip.towers import load_image_tower, load_text_tower
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, ModelError, ModelSpec
from operators.models.towers.embedder import TorchEmbedder
from operators.models.towers.tower import describe_tower, weights_on_worker
from operators.models.weights.find import check_unchanged, find_first_weights
from operators.models.weights.tensors import sha256_of_module
from operators.pixels.preprocess import Preprocess
from operators.storage.stores import StorageOptions

# open_clip logs every step on the root logger.
logging.getLogger().setLevel(logging.ERROR)

OF_TRAINING = frozenset({"patch_dropout", "output_tokens", "timm_drop", "timm_drop_path", "timm_model_pretrained"})
"""Settings in open_clip's `vision_cfg` that change no vector."""


def describe(spec: ModelSpec, storage: StorageOptions) -> ModelDescription:
    found = architecture_of(spec)
    weights = find_first_weights(spec, found.weights, storage) if found.weights else None
    tower = load_image_tower(spec, found.config, weights.path if weights else None)
    digest = weights.sha256 if weights else sha256_of_module(tower.visual)
    preprocess = spec.preprocess.apply(_preprocess(spec, found.preprocess, tower.visual.image_size))
    return describe_tower(
        spec,
        image_features(spec, tower.visual),
        preprocess,
        weights_sha256=digest,
        weights_uri=weights.uri if weights else None,
        text=tower.text and in_joint_space(spec),
        # Towers of timm and CLIP's ResNets have activations of their own.
        quick_gelu=bool(found.config.get("quick_gelu")) and isinstance(tower.visual, VisionTransformer),
        network=_network(found.config),
        architecture_config=found.config,
    )


def _network(config: dict[str, Any]) -> dict[str, Any]:
    vision = {key: value for key, value in config["vision_cfg"].items() if key not in OF_TRAINING}
    return {"embed_dim": config["embed_dim"], "vision_cfg": vision}


def load_image_embedder(description: ModelDescription, runtime: Runtime) -> ImageEmbedder:
    spec, weights = description.spec, weights_on_worker(description, runtime.storage)
    visual = load_image_tower(spec, _config(description), weights.path if weights else None).visual
    if weights is None:
        check_unchanged(description.spec, description.weights_sha256, sha256_of_module(visual))
    return TorchEmbedder(image_features(spec, visual), description.preprocess, runtime)


def load_text_embedder(description: ModelDescription, storage: StorageOptions) -> TextEmbedder:
    spec, config = description.spec, _config(description)
    tokenizer = tokenizer_of(spec, config)
    weights = weights_on_worker(description, storage)
    return OpenClipTexts(load_text_tower(spec, config, weights.path if weights else None), tokenizer)


def fresh_tower(spec: ModelSpec, config: dict[str, Any] | None) -> torch.nn.Module:
    """The image tower with weights of no meaning, for others to be put in; `config` is `architecture_config` of a
    description. Opens no file. Raises `ModelError`."""
    return image_features(spec, load_image_tower(spec, checked_config(spec, config), None).visual)


def fresh_text_tower(spec: ModelSpec, config: dict[str, Any] | None) -> torch.nn.Module:
    """The same of the text tower."""
    return load_text_tower(spec, checked_config(spec, config), None)


def tokenizer_of_tower(spec: ModelSpec, config: dict[str, Any] | None) -> Tokenizer:
    return tokenizer_of(spec, checked_config(spec, config))


def _config(description: ModelDescription) -> dict[str, Any]:
    assert description.architecture_config is not None
    return description.architecture_config


def _preprocess(spec: ModelSpec, config: dict[str, Any], size: int | tuple[int, int]) -> Preprocess:
    """Our preprocessing from open_clip's `PreprocessCfg`, at the size that the tower is built for."""
    height, width = (size, size) if isinstance(size, int) else size
    try:
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
    except ValidationError as error:
        [first, *_] = error.errors()
        raise ModelError(
            f"model {spec.name!r}: its configuration has {first['loc'][0]} {first['input']!r}, which is not supported: "
            f"{first['msg']}"
        ) from error
