"""What open_clip builds a model from: its `model_cfg`, its preprocessing, and the place of its weights."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import open_clip
from open_clip.constants import HF_CONFIG_NAME, HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.factory import _find_checkpoint_in_dir
from open_clip.model import CLIPVisionCfg
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from operators.base.errors import clean_message
from operators.models.open_clip.training import training_of
from operators.models.spec import HUB_SCHEME, ModelError, ModelSpec
from operators.models.weights.hub import hub_file

HUB, FOLDER = "hf-hub:", "local-dir:"

_HUB_NAMES = ("hf_model_name", "hf_tokenizer_name")

TRAINED_SIZE = "trained_size"
"""Our own key in `model_cfg`: height and width of the architecture's images, where others are asked for."""


@dataclass(frozen=True)
class Architecture:
    """All that `open_clip.create_model` finds under a name, before it opens any weights."""

    config: dict[str, Any]
    """open_clip's `model_cfg`, as the spec wants it built: image size and activation set, nothing to download; with
    `TRAINED_SIZE`."""
    preprocess: dict[str, Any]
    """open_clip's `PreprocessCfg`; its size is the built tower's, not the one in here."""
    weights: tuple[str, ...]
    """URIs of the same weights, the preferred first; none for random ones."""


def architecture_of(spec: ModelSpec) -> Architecture:
    """The architecture of a spec. Raises `ModelError` for a name that open_clip does not have, and for a folder or
    repository without its files."""
    if spec.architecture.startswith(FOLDER):
        found = _of_folder(spec, Path(spec.architecture.removeprefix(FOLDER)))
    elif spec.architecture.startswith(HUB):
        found = _of_hub(spec, spec.architecture.removeprefix(HUB))
    else:
        found = _of_library(spec)
    _set_up(spec, found.config)
    return found


def _of_library(spec: ModelSpec) -> Architecture:
    config = open_clip.get_model_config(spec.architecture)
    if config is None:
        near = sorted((m for m in open_clip.list_models() if spec.architecture.lower() in m.lower()), key=len)[:5]
        hint = f"; near it: {', '.join(near)}" if near else "; `pixlake models open_clip` lists them"
        raise ModelError(f"model {spec.name!r}: open_clip has no architecture {spec.architecture!r}{hint}")
    training = training_of(spec)
    config["quick_gelu"] = bool(config.get("quick_gelu")) or training.quick_gelu
    if spec.pretrained is None:
        weights = (spec.weights,) if spec.weights else ()
        return Architecture(config, merge_preprocess_dict(asdict(PreprocessCfg()), training.preprocess), weights)
    tag = open_clip.get_pretrained_cfg(spec.architecture, spec.pretrained)
    if not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(spec.architecture)) or "none"
        raise ModelError(
            f"model {spec.name!r}: open_clip has no weights {spec.pretrained!r} for {spec.architecture}; it has: {tags}"
        )
    preprocess = merge_preprocess_dict(asdict(PreprocessCfg()), tag)
    return Architecture(config, preprocess, _uris_of_tag(spec, tag))


def _uris_of_tag(spec: ModelSpec, tag: dict[str, Any]) -> tuple[str, ...]:
    """URIs in the order of `open_clip.pretrained.download_pretrained`, which prefers the hub, and safetensors on it."""
    if not tag.get("hf_hub"):
        raise ModelError(
            f"model {spec.name!r}: open_clip takes these weights from {tag.get('url') or 'nowhere'}, and not from a "
            f"hub. Download them and name the file: open_clip:{spec.architecture}@/path/weights.safetensors"
        )
    repository, _, filename = str(tag["hf_hub"]).rpartition("/")
    filename = filename or HF_WEIGHTS_NAME
    safe = HF_SAFE_WEIGHTS_NAME if filename == HF_WEIGHTS_NAME else f"{Path(filename).stem}.safetensors"
    return tuple(f"{HUB_SCHEME}{repository}/{name}" for name in dict.fromkeys((safe, filename)))


def _of_folder(spec: ModelSpec, folder: Path) -> Architecture:
    path = folder / HF_CONFIG_NAME
    if not path.is_file():
        raise ModelError(
            f"model {spec.name!r}: there is no {path}. A folder of open_clip's holds {HF_CONFIG_NAME} beside its "
            f"weights, {HF_SAFE_WEIGHTS_NAME}, as open_clip.push_to_hf_hub.save_for_hf writes them"
        )
    config, preprocess = _parsed(spec, path)
    weights = _find_checkpoint_in_dir(folder)
    if weights is None:
        raise ModelError(f"model {spec.name!r}: {folder} holds no weights; open_clip's name is {HF_SAFE_WEIGHTS_NAME}")
    return Architecture(config, preprocess, (weights,))


def _of_hub(spec: ModelSpec, repository: str) -> Architecture:
    path, uri = hub_file(spec, f"{HUB_SCHEME}{repository}/{HF_CONFIG_NAME}")
    # Of the same commit as the configuration.
    weights = (uri.replace(f"/{HF_CONFIG_NAME}@", f"/{name}@") for name in (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME))
    return Architecture(*_parsed(spec, Path(path)), tuple(weights))


def _parsed(spec: ModelSpec, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(`model_cfg`, preprocessing) from an open_clip_config.json."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        config = found["model_cfg"]
        config["vision_cfg"], config["text_cfg"], config["embed_dim"]
    except (ValueError, KeyError, TypeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(f"model {spec.name!r}: {path} is no open_clip configuration: {reason}") from error
    return config, merge_preprocess_dict(asdict(PreprocessCfg()), found.get("preprocess_cfg") or {})


def _set_up(spec: ModelSpec, config: dict[str, Any]) -> None:
    vision, text = config["vision_cfg"], config["text_cfg"]
    # Weights come from the one file that is hashed, and from nowhere else.
    vision["timm_model_pretrained"] = False
    if "hf_model_name" in text:
        text["hf_model_pretrained"] = False
    if size := spec.preprocess.input_size:
        own = vision.get("image_size", CLIPVisionCfg.image_size)
        if isinstance(vision.get("layers"), list) and spec.seed is None and size != (own, own):
            raise ModelError(
                f"model {spec.name!r}: CLIP's ResNets take images of one size, here {own} x {own}, since the positions "
                "in their attention pool are not resampled; leave model.preprocess.image_size out"
            )
        config[TRAINED_SIZE] = [own, own] if isinstance(own, int) else list(own)
        # A number for a square: CLIP's ResNets take nothing else.
        vision["image_size"] = size[0] if size[0] == size[1] else list(size)
    own = vision.get("image_size")
    if isinstance(own, list | tuple) and own[0] == own[1]:
        vision["image_size"] = own[0]
    # Some files spell the defaults out and some do not, and the same network is the same space.
    defaults = asdict(CLIPVisionCfg())
    config["vision_cfg"] = {k: v for k, v in sorted(vision.items()) if k not in defaults or v != defaults[k]}


def checked_config(spec: ModelSpec, config: dict[str, Any] | None) -> dict[str, Any]:
    """A `model_cfg` that came with a saved model, with nothing in it that would be fetched or opened. Raises
    `ModelError`."""
    try:
        found = {**(config or {})}
        found["vision_cfg"], found["text_cfg"] = {**found["vision_cfg"]}, {**found["text_cfg"]}
        found["embed_dim"] = int(found["embed_dim"])
        names = [found["vision_cfg"].get("timm_model_name"), *(found["text_cfg"].get(key) for key in _HUB_NAMES)]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"model {spec.name!r}: it does not say what open_clip is to build ({clean_message(repr(error))}); copy the "
            "folder again from where it was made"
        ) from error
    for name in names:
        if name and not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", str(name)):
            raise ModelError(f"model {spec.name!r}: {name!r} is no name of an architecture or a repository")
    found["vision_cfg"]["timm_model_pretrained"] = False
    if "hf_model_name" in found["text_cfg"]:
        found["text_cfg"]["hf_model_pretrained"] = False
    return found
