"""How a model was trained, as timm's pretrained tags record it: a bare weights file says nothing about it."""

import json
from functools import cache
from typing import Any

import timm

from operators.models.spec import ModelError, ModelSpec

KEYS = ("mean", "std", "interpolation")
"""Settings on which tags must agree; they also differ in size and crop, which the description shows."""
SHOWN = 3


def check_preprocessing_is_known(spec: ModelSpec) -> None:
    """Raises `ModelError` for a weights file of an architecture whose tags disagree on mean, std or interpolation,
    where neither a tag nor the spec says which: timm takes those of the default tag, and vectors look right and are
    not. Folders and repositories bring their own configuration, and random weights have nothing to be wrong about.
    """
    if not spec.weights or "." in spec.architecture or not timm.is_model(spec.architecture):
        return
    ways: dict[str, list[str]] = {}
    for name in timm.list_pretrained(f"{spec.architecture}.*"):
        ways.setdefault(json.dumps(_preprocess(name) | _overrides(spec)), []).append(name.partition(".")[2])
    if len(ways) > 1:
        raise ModelError(_disagreement(spec, ways))


def notes_of(spec: ModelSpec, pretrained_cfg: dict[str, Any]) -> tuple[str, ...]:
    """timm's own remarks on the weights of a tag, or of a folder or repository that says which tag it is; and where
    they tell of another activation than timm runs, what that means."""
    tag = pretrained_cfg.get("tag")
    # A bare file is given the default tag's configuration, and need not be it.
    if spec.seed is not None or not tag or (spec.weights and "." not in spec.architecture):
        return ()
    architecture = str(pretrained_cfg.get("architecture") or "").split(".")[0]
    known: Any = timm.get_pretrained_cfg(f"{architecture}.{tag}") if f"{architecture}.{tag}" in _tags() else None
    notes = tuple(pretrained_cfg.get("notes") or (known and known.notes) or ())
    if "quickgelu" in architecture or not any("quickgelu" in note.lower() for note in notes):
        return notes
    kin = architecture.replace("_clip_", "_clip_quickgelu_") + f".{tag}"
    way_out = f"; timm:{kin} runs QuickGELU, as they were trained" if kin in _tags() else ""
    return (*notes, f"timm runs GELU on these weights, and their own vectors are others{way_out}")


@cache
def _tags() -> frozenset[str]:
    return frozenset(timm.list_pretrained())


def _preprocess(name: str) -> dict[str, Any]:
    tag: Any = timm.get_pretrained_cfg(name)
    return {key: getattr(tag, key) for key in KEYS}


def _overrides(spec: ModelSpec) -> dict[str, Any]:
    """The user's overrides of the preprocessing: tags need not agree on these."""
    return {key: value for key in KEYS if (value := getattr(spec.preprocess, key)) is not None}


def _disagreement(spec: ModelSpec, ways: dict[str, list[str]]) -> str:
    found = [json.loads(way) for way in ways]
    keys = [key for key in KEYS if any(way[key] != found[0][key] for way in found)]
    shown = [
        f"{', '.join(f'{key} {way[key]}' for key in keys)} by {_few(tags)}"
        for way, tags in zip(found[:SHOWN], ways.values(), strict=False)
    ]
    settings = [f"--set 'model.preprocess.{key}={found[0][key]}'" for key in keys]
    return (
        f"model {spec.name!r}: nothing says how this file's images are to be prepared, and timm's pretrained weights "
        f"of {spec.architecture} disagree: {'; '.join(shown)}. Name the tag that the file is from, as in "
        f"timm:{spec.architecture}.{next(iter(ways.values()))[0]}@{spec.weights}, or say it, as in "
        f"{' '.join(settings)}"
    )


def _few(tags: list[str]) -> str:
    more = len(tags) - SHOWN
    return ", ".join(tags[:SHOWN]) + (f" and {more} more" if more > 0 else "")
