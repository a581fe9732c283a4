"""One tower of an open_clip model at a time: built by open_clip's own builders, filled from its part of the file."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from open_clip.coca_model import CoCa
from open_clip.factory import load_checkpoint, load_state_dict
from open_clip.model import (
    CLIPTextCfg,
    CLIPVisionCfg,
    CustomTextCLIP,
    _build_text_tower,
    _build_vision_tower,
    resize_text_pos_embed,
)
from open_clip.timm_model import TimmModel
from safetensors import safe_open

from operators.base.errors import clean_message
from operators.models.open_clip.architecture import TRAINED_SIZE
from operators.models.open_clip.positions import resample_positions
from operators.models.spec import ModelError, ModelSpec
from operators.models.weights.tensors import StateDict, apply_state_dict

VISUAL = "visual."


class ImageTower(NamedTuple):
    visual: Any
    """open_clip's VisionTransformer, ModifiedResNet or TimmModel, with its projection."""
    text: bool
    """Whether the weights hold a text tower too."""


def load_image_tower(spec: ModelSpec, config: dict[str, Any], path: str | None) -> ImageTower:
    """The image tower alone; `path` None gives the spec's random weights. Raises `ModelError`."""
    if path is None:
        return ImageTower(_built(spec, lambda: _random_visual(spec, config)), text=True)
    try:
        state = _state(path, lambda key: key.startswith(VISUAL))
        visual: Any = _whole(config, path).visual if state is None else _filled(spec, config, state.tensors)
    except ModelError:
        raise
    except Exception as error:
        raise _unreadable(spec, path, error) from error
    _check_size(spec, visual)
    _built(spec, lambda: _set_input_size(spec, visual))
    return ImageTower(visual.eval(), text=state is None or any(map(_is_text, state.keys)))


def _filled(spec: ModelSpec, config: dict[str, Any], tensors: StateDict) -> Any:
    visual = _built(spec, lambda: build_visual(config))
    resample_positions(spec, tensors, visual, config.get(TRAINED_SIZE))
    # In a container, so that errors name the tensors as the file does.
    apply_state_dict(spec, torch.nn.ModuleDict({"visual": visual}), tensors)
    return visual


def load_text_tower(spec: ModelSpec, config: dict[str, Any], path: str | None) -> torch.nn.Module:
    """The text tower alone; `path` None gives the spec's random weights. Raises `ModelError`."""
    if path is None:
        random: torch.nn.Module = _built(spec, lambda: _random_text(spec, config), _hint(config))
        return random
    try:
        state = _state(path, _is_text)
        if state is None:
            whole: torch.nn.Module = _whole(config, path).text
            return whole
        text: torch.nn.Module = _built(spec, lambda: build_text(config), _hint(config))
        tensors = _as_custom_text(state.tensors)
        resize_text_pos_embed(tensors, SimpleNamespace(text=text))
    except ModelError:
        raise
    except Exception as error:
        raise _unreadable(spec, path, error) from error
    apply_state_dict(spec, torch.nn.ModuleDict({"text": text}), tensors)
    return text.eval()


def build_visual(config: dict[str, Any]) -> Any:
    vision = CLIPVisionCfg(**config["vision_cfg"])
    return _build_vision_tower(config["embed_dim"], vision, bool(config.get("quick_gelu")))


def build_text(config: dict[str, Any]) -> torch.nn.Module:
    text: torch.nn.Module = _build_text_tower(
        config["embed_dim"], CLIPTextCfg(**config["text_cfg"]), bool(config.get("quick_gelu"))
    )
    return text


def _random_visual(spec: ModelSpec, config: dict[str, Any]) -> Any:
    """The very tensors that `open_clip.create_model` draws after `torch.manual_seed`."""
    torch.manual_seed(spec.seed or 0)
    if "multimodal_cfg" in config:
        # CoCa draws its text tower first.
        build_text(config)
    visual = build_visual(config).eval()
    _check_size(spec, visual)
    _set_input_size(spec, visual)
    return visual


def _random_text(spec: ModelSpec, config: dict[str, Any]) -> Any:
    torch.manual_seed(spec.seed or 0)
    if "multimodal_cfg" not in config:
        build_visual(config)
    return build_text(config).eval()


def _check_size(spec: ModelSpec, visual: Any) -> None:
    """Raises `ModelError` for a size that patches do not tile: open_clip and timm silently leave the rest out."""
    size = spec.preprocess.input_size
    patch = getattr(visual, "patch_size", None)
    if isinstance(visual, TimmModel) and hasattr(visual.trunk, "patch_embed"):
        embed = visual.trunk.patch_embed
        patch = embed.feat_ratio(as_scalar=False) if hasattr(embed, "feat_ratio") else None
    if size and patch and any(length % step for length, step in zip(size, patch, strict=True)):
        near = " x ".join(str(max(1, round(length / step)) * step) for length, step in zip(size, patch, strict=True))
        raise ModelError(
            f"model {spec.name!r}: image_size {size[0]} x {size[1]} is not a multiple of its patches of "
            f"{patch[0]} x {patch[1]} pixels; the nearest is {near}"
        )


def _set_input_size(spec: ModelSpec, visual: Any) -> None:
    """Set the input size as `open_clip.create_model` does, once the weights are in: timm resamples what it has learnt
    at its own size."""
    if isinstance(visual, TimmModel) and spec.preprocess.input_size:
        visual.set_input_size(spec.preprocess.input_size)


def _hint(config: dict[str, Any]) -> str:
    name = config["text_cfg"].get("hf_model_name")
    return f". Its text tower is built from the configuration of the hub repository {name}" if name else ""


def _built(spec: ModelSpec, build: Callable[[], Any], hint: str = "") -> Any:
    try:
        return build()
    except ModelError:
        raise
    except Exception as error:
        size = spec.preprocess.image_size
        cause = f" at image_size {size}" if size else ""
        raise ModelError(
            f"model {spec.name!r}: open_clip cannot build this architecture{cause}: {clean_message(str(error))}{hint}"
        ) from error


class _State(NamedTuple):
    tensors: StateDict
    """The tensors that are wanted."""
    keys: list[str]
    """Names of all tensors in the file."""


def _state(path: str, wanted: Callable[[str], bool]) -> _State | None:
    """The wanted tensors of a file. A safetensors file is read only for those; a pickle is read whole, and the rest
    dropped.

    None for a file of another library: big_vision's arrays, or Apple's names. open_clip can convert these only in the
    whole model.
    """
    if path.endswith((".npz", ".npy")):
        return None
    if path.endswith(".safetensors"):
        with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            # open_clip's training saves what DistributedDataParallel calls its tensors.
            names = {key.removeprefix("module."): key for key in file.keys()}  # noqa: SIM118
            tensors = {name: file.get_tensor(key) for name, key in names.items() if wanted(name)}
        keys = list(names)
    else:
        everything = load_state_dict(path)
        keys, tensors = list(everything), {name: tensor for name, tensor in everything.items() if wanted(name)}
    return None if any(key.startswith("image_encoder.") for key in keys) else _State(tensors, keys)


def _whole(config: dict[str, Any], path: str) -> Any:
    kind = CoCa if "multimodal_cfg" in config else CustomTextCLIP
    model = kind(**{key: value for key, value in config.items() if key not in ("custom_text", TRAINED_SIZE)})
    load_checkpoint(model, path)
    return model.eval()


# Of `text.`, and of CLIP's first form, whose text tower is not a module of its own.
_TEXT = ("text.", "token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection")


def _is_text(key: str) -> bool:
    return key.startswith(_TEXT)


def _as_custom_text(state: StateDict) -> StateDict:
    renamed = {key if key.startswith("text.") else f"text.{key}": tensor for key, tensor in state.items()}
    # transformers before 4.31 stored it; it is no weight.
    renamed.pop("text.transformer.embeddings.position_ids", None)
    return renamed


def _unreadable(spec: ModelSpec, path: str, error: Exception) -> ModelError:
    return ModelError(f"model {spec.name!r}: {path} cannot be loaded: {clean_message(str(error))}")
