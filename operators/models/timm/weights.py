"""Loads a weights file into a timm network, without the classifier and with nothing left random."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

import timm
import torch
from timm.layers import to_2tuple
from timm.models import _builder
from timm.models import load_state_dict as timm_load_state_dict

from operators.base.errors import clean_message
from operators.models.spec import ModelError, ModelSpec
from operators.models.weights.tensors import StateDict, apply_state_dict


def load_timm_weights(spec: ModelSpec, path: str, name: str, options: dict[str, Any]) -> torch.nn.Module:
    """`timm.create_model(name, **options)` with the tensors of the file, renamed and resampled as timm itself does.

    Without classifier timm loads leniently: tensors that a file lacks would stay random, and only timm's log would say
    so. Raises `ModelError` naming the first tensors that differ.
    """
    try:
        # Also training checkpoints, whose tensors are below a key.
        state: StateDict = timm_load_state_dict(path, weights_only=True)
    except Exception as error:
        raise ModelError(
            f"model {spec.name!r}: {path} is truncated, or holds more than tensors: {clean_message(str(error))}"
        ) from error
    with _loading_left_to_us() as loading:
        module: Any = timm.create_model(name, pretrained=True, **options)
    as_filed = list(state.values())
    try:
        state = _filtered(loading["filter_fn"], state, module) if loading["filter_fn"] else state
    except Exception as error:
        raise ModelError(
            f"model {spec.name!r}: {path} holds tensors of another model than {spec.architecture}: "
            f"{clean_message(str(error))}"
        ) from error
    fresh = module.state_dict()
    state = _without_classifier(state, fresh, module.pretrained_cfg.get("classifier"))
    if not loading["strict"]:
        state = _as_lenient_as_timm(state, fresh)
    try:
        apply_state_dict(spec, module, state)
    except ModelError as error:
        if not spec.preprocess.image_size:
            raise
        raise ModelError(
            f"{error}. It may be that they fit the size alone that they were trained at: "
            "leave model.preprocess.image_size out"
        ) from error
    untouched = {id(tensor) for tensor in as_filed}
    _check_places(spec, name, options, module, [key for key, tensor in state.items() if id(tensor) in untouched])
    return module  # type: ignore[no-any-return]


def _check_places(spec: ModelSpec, name: str, options: dict[str, Any], module: Any, untouched: Sequence[str]) -> None:
    """Raises `ModelError` for a shape of image with as many places as the trained one, but other rows and columns,
    where a tensor with something for each place is as the file has it: it fits, and every place gets another's.

    Such tensors are those that change with the image's height alone; timm resamples a ViT's, and leaves a CaiT's or a
    mixer's as they are."""
    asked, own = spec.preprocess.input_size, options.get("pretrained_model_args", {}).get("img_size")
    trained = to_2tuple(own or module.pretrained_cfg["input_size"][1:])
    if not asked or "img_size" not in options or asked[0] / asked[1] == trained[0] / trained[1]:
        return
    with torch.device("meta"):
        higher = timm.create_model(name, **options | {"img_size": (asked[0], trained[1])}).state_dict()
    own_places = [key for key in untouched if higher[key].shape != module.state_dict()[key].shape]
    if own_places:
        raise ModelError(
            f"model {spec.name!r}: {name} has learnt {own_places[0]} for the places of {trained[0]} x {trained[1]} "
            f"images, and timm does not resample it to {asked[0]} x {asked[1]}, which has as many in another shape; "
            "leave model.preprocess.image_size out"
        )


def _filtered(filter_fn: Callable[..., StateDict], state: StateDict, module: Any) -> StateDict:
    """Some filters take the tensors alone, as CrossViT's does."""
    return filter_fn(state, module) if len(signature(filter_fn).parameters) > 1 else filter_fn(state)


@contextmanager
def _loading_left_to_us() -> Iterator[dict[str, Any]]:
    """Filled with what timm would load by: `filter_fn` and `strict` are known only inside its builders."""
    loading: dict[str, Any] = {"filter_fn": None, "strict": True}

    def note(
        model: Any, *, filter_fn: Callable[..., StateDict] | None = None, strict: bool = True, **rest: Any
    ) -> None:
        loading.update(filter_fn=filter_fn, strict=strict)

    own = _builder.load_pretrained
    _builder.load_pretrained = note
    try:
        yield loading
    finally:
        _builder.load_pretrained = own


def _without_classifier(state: StateDict, fresh: StateDict, classifier: str | tuple[str, ...] | None) -> StateDict:
    """The tensors without the classifier's and what goes with it: heads have hidden layers that are only built for
    it."""
    names = (classifier,) if isinstance(classifier, str) else classifier or ()
    gone = {
        f"{part}."
        for name in names
        for part in (name.rsplit(".", depth)[0] for depth in range(name.count(".") + 1))
        if not any(key.startswith(f"{part}.") for key in fresh)
    }
    return {key: tensor for key, tensor in state.items() if not key.startswith(tuple(gone))}


def _as_lenient_as_timm(state: StateDict, fresh: StateDict) -> StateDict:
    """Load as leniently as timm for the few architectures whose published files it knows not to match: FCMAE's lack the
    final norm, which then is a fresh one, of ones and zeros; others have tensors that nothing uses."""
    constant = {
        key: tensor
        for key, tensor in fresh.items()
        if key.endswith((".weight", ".bias"))
        and tensor.ndim == 1
        and bool((tensor == float(key.endswith(".weight"))).all())
    }
    return {**constant, **{key: tensor for key, tensor in state.items() if key in fresh}}
