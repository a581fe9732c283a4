"""How a model was trained, as open_clip's pretrained tags record it: a bare weights file says nothing about it."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from open_clip import get_model_config, get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from operators.models.spec import ModelError, ModelSpec


@dataclass(frozen=True)
class Training:
    """What `open_clip.create_model` must be told beside the weights, as it would otherwise assume CLIP's own
    training."""

    quick_gelu: bool = False
    preprocess: dict[str, Any] = field(default_factory=dict)
    """Overrides of open_clip's preprocessing; empty where the library knows."""


def training_of(spec: ModelSpec) -> Training:
    """The training of a model: a tag has its own; weights files and random weights get what the architecture's tags
    agree on.

    Activation: QuickGELU where the architecture says so or all of its tags do. Tags that disagree leave it to the
    architecture, since the other activation then has the name `ARCHITECTURE-quickgelu`. Preprocessing: that of the tags
    with this activation, and what the spec overrides. An architecture without tags has the library's default, and so
    have random weights where tags disagree; a file is refused there with a `ModelError`, since either guess gives
    vectors that look right and are not.
    """
    if spec.pretrained:
        # A tag trained with QuickGELU computes something else under the plain architecture's GELU.
        return Training(
            quick_gelu=bool((get_pretrained_cfg(spec.architecture, spec.pretrained) or {}).get("quick_gelu"))
        )
    tags = {tag: get_pretrained_cfg(spec.architecture, tag) for tag in list_pretrained_tags_by_model(spec.architecture)}
    own = bool((get_model_config(spec.architecture) or {}).get("quick_gelu"))
    quick_gelu = own or (bool(tags) and all(tag.get("quick_gelu") for tag in tags.values()))
    ways: dict[str, list[str]] = {}
    for name, tag in tags.items():
        if (own or bool(tag.get("quick_gelu"))) == quick_gelu:
            ways.setdefault(json.dumps(_preprocess(tag) | _overrides(spec)), []).append(name)
    if len(ways) > 1 and spec.weights:
        raise ModelError(_disagreement(spec, ways))
    return Training(quick_gelu, json.loads(next(iter(ways))) if len(ways) == 1 else {})


def _preprocess(tag: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = merge_preprocess_dict(asdict(PreprocessCfg()), tag)
    # The built model knows its size.
    del merged["size"]
    return merged


def _overrides(spec: ModelSpec) -> dict[str, Any]:
    """The user's overrides of the preprocessing, in open_clip's words: tags need not agree on these."""
    own = spec.preprocess
    said: dict[str, Any] = {
        "mean": own.mean,
        "std": own.std,
        "interpolation": own.interpolation,
        "resize_mode": own.resize,
    }
    if own.fill is not None:
        # open_clip fills with one grey; the spec's colour replaces it.
        said["fill_color"] = own.fill[0]
    return {key: list(value) if isinstance(value, tuple) else value for key, value in said.items() if value is not None}


def _disagreement(spec: ModelSpec, ways: dict[str, list[str]]) -> str:
    found = [json.loads(way) for way in ways]
    keys = [key for key in found[0] if any(way[key] != found[0][key] for way in found)]
    shown = "; ".join(
        f"{', '.join(f'{key} {way[key]}' for key in keys)} by {', '.join(tags)}"
        for way, tags in zip(found, ways.values(), strict=True)
    )
    names = {"resize_mode": "resize", "fill_color": "fill"}
    settings = [f"--set 'model.preprocess.{names.get(key, key)}={found[0][key]}'" for key in keys]
    return (
        f"model {spec.name!r}: nothing says how this file's images are to be prepared, and the pretrained weights of "
        f"{spec.architecture} disagree: {shown}. Say it, as in {' '.join(settings)}, or name the tag that the file is "
        f"from in place of the file, as in open_clip:{spec.architecture}/{next(iter(ways.values()))[0]}"
    )
