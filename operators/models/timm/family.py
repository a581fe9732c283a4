"""Vision models through timm: pooled features without the classifier."""

import json
import math
from typing import Any, NamedTuple

import timm
import torch
from timm.layers import PatchEmbed
from timm.models._hub import load_model_config_from_path
from timm.models._input import get_model_args

from operators.base.errors import clean_message
from operators.models.load import ImageEmbedder
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, ModelError, ModelSpec
from operators.models.timm.features import TimmTower
from operators.models.timm.training import check_preprocessing_is_known, notes_of
from operators.models.timm.weights import load_timm_weights
from operators.models.towers.embedder import TorchEmbedder
from operators.models.towers.tower import describe_tower, weights_on_worker
from operators.models.weights.find import LocalWeights, check_unchanged, find_first_weights, find_weights
from operators.models.weights.hub import hub_file
from operators.models.weights.tensors import sha256_of_module
from operators.pixels.preprocess import Preprocess
from operators.storage.stores import StorageOptions

RESIZE = {"center": "shortest", "squash": "squash", "border": "longest"}
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")

HUB, FOLDER = "hf-hub:", "local-dir:"
_ELSEWHERE = frozenset({"file", "url", "source", "hf_hub_id", "hf_hub_filename", "checkpoint_path", "cache_dir"})
"""Where timm would look for weights: in a pretrained configuration, or as an argument."""


def describe(spec: ModelSpec, storage: StorageOptions) -> ModelDescription:
    _check_architecture(spec)
    check_preprocessing_is_known(spec)
    weights = _find(spec, storage)
    config = _config(spec, weights)
    module = _build(spec, config, weights)
    # Before the tower, which leaves out what is behind `layer`: workers hash the whole network.
    digest = weights.sha256 if weights else sha256_of_module(module)
    tower = TimmTower(module, spec)
    description = describe_tower(
        spec,
        tower,
        spec.preprocess.apply(_preprocess(spec, module)),
        weights_sha256=digest,
        weights_uri=weights.uri if weights else None,
        network=_network(spec, config),
        architecture_config=config,
        notes=notes_of(spec, module.pretrained_cfg),
    )
    tower.check_patches(description.preprocess.height, description.preprocess.width)
    return description


def _network(spec: ModelSpec, config: dict[str, Any] | None) -> Any:
    if config is None:
        # The tag, behind the dot, says which weights.
        return spec.architecture.split(".")[0]
    # The size is recorded where images are brought to it, and the classifier is left out.
    arguments = {key: value for key, value in config["model_args"].items() if key not in ("img_size", "num_classes")}
    return {"name": config["architecture"], "model_args": arguments} if arguments else config["architecture"]


def load_image_embedder(description: ModelDescription, runtime: Runtime) -> ImageEmbedder:
    spec, weights = description.spec, weights_on_worker(description, runtime.storage)
    module = _build(spec, description.architecture_config, weights)
    if weights is None:
        check_unchanged(description.spec, description.weights_sha256, sha256_of_module(module))
    return TorchEmbedder(TimmTower(module, spec), description.preprocess, runtime)


def fresh_tower(spec: ModelSpec, config: dict[str, Any] | None) -> torch.nn.Module:
    """The tower with weights of no meaning, for others to be put in; `config` is a description's `architecture_config`.
    Opens no file: what it says of other places is not followed. Raises `ModelError`."""
    try:
        name = str(config["architecture"]) if config else spec.architecture
        if config:
            about = {key: value for key, value in config["pretrained_cfg"].items() if key not in _ELSEWHERE}
            config = {"architecture": name, "pretrained_cfg": about, "model_args": dict(config["model_args"])}
        known = timm.is_model(name.split(".")[0]) and ":" not in name
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"model {spec.name!r}: it does not say what timm is to build ({clean_message(repr(error))})"
        ) from error
    asked = [key for key in (config or {}).get("model_args", {}) if key.startswith("pretrained") or key in _ELSEWHERE]
    if not known or asked:
        raise ModelError(f"model {spec.name!r}: timm has no architecture {name!r} with {asked or 'these'} arguments")
    return TimmTower(_build(spec, config, None), spec)


def _check_architecture(spec: ModelSpec) -> None:
    bare = spec.architecture.split(".")[0]
    if spec.architecture.startswith((HUB, FOLDER)):
        return
    if timm.is_model(bare):
        try:
            timm.get_pretrained_cfg(spec.architecture)
        except RuntimeError as error:
            raise ModelError(_no_such_weights(spec)) from error
        return
    near = sorted(timm.list_models(f"*{bare}*"), key=len)[:5]
    hint = f"; near it: {', '.join(near)}" if near else "; `pixlake models timm` lists them"
    raise ModelError(f"model {spec.name!r}: timm has no architecture {bare!r}{hint}")


def _find(spec: ModelSpec, storage: StorageOptions) -> LocalWeights | None:
    """The weights file on this node, downloaded if need be; None for random weights."""
    if spec.seed is not None:
        return None
    if spec.weights:
        return find_weights(spec, spec.weights, storage)
    if spec.architecture.startswith(FOLDER):
        return find_weights(spec, f"{spec.architecture.removeprefix(FOLDER)}/model.safetensors", storage)
    repository = _repository(spec)
    # Old repositories of other people have a pickle alone, which needs a pin.
    return find_first_weights(
        spec, [f"hf://{repository}/{name}" for name in ("model.safetensors", "pytorch_model.bin")], storage
    )


def _repository(spec: ModelSpec) -> str:
    if spec.architecture.startswith(HUB):
        return spec.architecture.removeprefix(HUB)
    config = timm.get_pretrained_cfg(spec.architecture)
    if config is None or not config.hf_hub_id:
        raise ModelError(_no_such_weights(spec))
    return str(config.hf_hub_id)


def _no_such_weights(spec: ModelSpec) -> str:
    known = timm.list_pretrained(f"{spec.architecture.split('.')[0]}.*")
    return f"model {spec.name!r}: timm has no such weights on the hub; it has: {', '.join(known)}"


def _config(spec: ModelSpec, weights: LocalWeights | None) -> dict[str, Any] | None:
    """What a folder or a repository says of its model beside the weights; None for timm's own names."""
    if spec.architecture.startswith(FOLDER):
        folder = spec.architecture.removeprefix(FOLDER)
    elif spec.architecture.startswith(HUB):
        # Of the same commit as the weights.
        _, at, commit = weights.uri.rpartition("@") if weights and weights.uri.startswith("hf://") else ("", "", "")
        folder = hub_file(spec, f"hf://{_repository(spec)}/config.json{at}{commit}").path.rpartition("/")[0]
    else:
        return None
    try:
        pretrained_cfg, architecture, arguments = load_model_config_from_path(folder)
    except Exception as error:
        raise ModelError(
            f"model {spec.name!r}: {folder}/config.json is not there, or none of timm's: {clean_message(str(error))}"
        ) from error
    # `file` and `source` say where timm would look for the weights.
    about = {key: value for key, value in pretrained_cfg.items() if key not in ("file", "source")}
    own = _own_arguments(architecture)
    # timm writes them all; what the architecture has anyway is no part of the model's name in the space.
    model_args = {key: value for key, value in (arguments or {}).items() if value != own.get(key)}
    return {"architecture": architecture, "pretrained_cfg": about, "model_args": model_args}


def _own_arguments(architecture: str) -> dict[str, Any]:
    """The arguments that `timm.models.save_for_hf` would write for the architecture as it is, in JSON's types."""
    with torch.device("meta"):
        arguments = get_model_args(timm.create_model(architecture, num_classes=0), {})
    own: dict[str, Any] = json.loads(json.dumps(arguments, default=str))
    return own


class _Request(NamedTuple):
    """What `timm.create_model` is asked for."""

    name: str
    options: dict[str, Any]


def _request(spec: ModelSpec, config: dict[str, Any] | None) -> _Request:
    options: dict[str, Any] = {"num_classes": 0}
    if config is None:
        name, about = spec.architecture, timm.get_pretrained_cfg(spec.architecture)
        fixed = bool(about and about.fixed_input_size)
    else:
        name, about = config["architecture"], config["pretrained_cfg"]
        options |= {**config["model_args"], "num_classes": 0, "pretrained_cfg": about}
        options["pretrained_model_args"] = config["model_args"]
        fixed = bool(about.get("fixed_input_size")) or "img_size" in options
    if spec.preprocess.input_size and fixed:
        # Convolutions take what comes, and their models no such argument.
        options["img_size"] = spec.preprocess.input_size
    return _Request(name, options)


def _build(spec: ModelSpec, config: dict[str, Any] | None, weights: LocalWeights | None) -> Any:
    """The network without classifier, at the size asked for."""
    name, options = _request(spec, config)
    try:
        torch.manual_seed(spec.seed or 0)
        if weights is None:
            module: Any = timm.create_model(name, **options)
        else:
            module = load_timm_weights(spec, weights.path, name, options)
    except ModelError:
        raise
    except Exception as error:
        size = spec.preprocess.image_size
        at = f" at image_size {size}" if size else ""
        raise ModelError(f"model {spec.name!r}: timm cannot build {name}{at}: {clean_message(str(error))}") from error
    _check_size(spec, module)
    return module.eval()


def _check_size(spec: ModelSpec, module: Any) -> None:
    """Raises `ModelError` for a size that patches do not tile: timm silently leaves out the rest of the image."""
    size = spec.preprocess.input_size
    embed = getattr(module, "patch_embed", None)
    if not size or not isinstance(embed, PatchEmbed):
        return
    steps = embed.patch_size
    if any(length % step for length, step in zip(size, steps, strict=True)):
        near = " x ".join(str(max(1, round(length / step)) * step) for length, step in zip(size, steps, strict=True))
        raise ModelError(
            f"model {spec.name!r}: image_size {size[0]} x {size[1]} is not a multiple of its patches of "
            f"{steps[0]} x {steps[1]} pixels; the nearest is {near}"
        )


def _preprocess(spec: ModelSpec, module: torch.nn.Module) -> Preprocess:
    """timm's own preprocessing, at the size asked for."""
    config: dict[str, Any] = timm.data.resolve_model_data_config(module)
    height, width = spec.preprocess.input_size or config["input_size"][1:]
    interpolation = spec.preprocess.interpolation or config["interpolation"]
    if interpolation not in INTERPOLATIONS:
        raise ModelError(
            f"model {spec.name!r}: timm prepares its images with interpolation {interpolation!r}, which is not had "
            f"here; set model.preprocess.interpolation to the nearest to it of {', '.join(INTERPOLATIONS)}"
        )
    resize = RESIZE[config["crop_mode"]]
    return Preprocess.model_validate(
        {
            "height": height,
            "width": width,
            "resize": resize,
            "resize_height": math.floor(height / config["crop_pct"]),
            "resize_width": math.floor(width / config["crop_pct"]),
            "interpolation": interpolation,
            "fill": [round(255 * v) for v in config["mean"]] if resize == "longest" else [0, 0, 0],
            "mean": config["mean"],
            "std": config["std"],
        }
    )
