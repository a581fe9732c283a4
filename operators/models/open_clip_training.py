"""How a model was trained, as open_clip's pretrained tags have it: a bare weights file says nothing of it."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from open_clip import get_model_config, get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from operators.models.spec import ModelError, ModelSpec


@dataclass(frozen=True)
class Training:
    """What `open_clip.create_model` must be told beside the weights, lest it takes CLIP's own for it."""

    quick_gelu: bool = False
    preprocess: dict[str, Any] = field(default_factory=dict)
    """Overrides of open_clip's preprocessing; empty where the library knows."""


def training_of(spec: ModelSpec) -> Training:
    """A tag has its own. A weights file, and random weights, have what the architecture's tags agree on.

    Activation: QuickGELU where the architecture says so or all of its tags do. Tags that disagree leave it to the
    architecture, since the other activation then has the name `ARCHITECTURE-quickgelu`.
    Preprocessing: that of the tags with this activation. An architecture without tags has the library's default, and
    so have random weights where tags disagree; a file is refused there with a `ModelError`, since either guess gives
    vectors that look right and are not.
    """
    if spec.architecture.startswith("hf-hub:"):
        return Training()
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
            ways.setdefault(json.dumps(_preprocess(tag)), []).append(name)
    if len(ways) > 1 and spec.weights:
        raise ModelError(_disagreement(spec, ways))
    return Training(quick_gelu, json.loads(next(iter(ways))) if len(ways) == 1 else {})


def _preprocess(tag: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = merge_preprocess_dict(asdict(PreprocessCfg()), tag)
    # The built model knows its size.
    del merged["size"]
    return merged


def _disagreement(spec: ModelSpec, ways: dict[str, list[str]]) -> str:
    found = [json.loads(way) for way in ways]
    keys = [key for key in found[0] if any(way[key] != found[0][key] for way in found)]
    shown = "; ".join(
        f"{', '.join(f'{key} {way[key]}' for key in keys)} by {', '.join(tags)}"
        for way, tags in zip(found, ways.values(), strict=True)
    )
    return (
        f"model {spec.name!r}: nothing says how this file's images are to be prepared, and the pretrained weights of "
        f"{spec.architecture} disagree: {shown}. Name the tag that the file is from in place of the file, as in "
        f"open_clip:{spec.architecture}/{next(iter(ways.values()))[0]}"
    )
