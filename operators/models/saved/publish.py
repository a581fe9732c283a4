"""Puts a written model where it belongs: at once, and never over another."""

import contextlib
import os
import re
import shutil
import time
from pathlib import Path

import obstore

from operators.models.saved.card import CARD, SAVED, ModelCard
from operators.models.saved.folder import card_if_there
from operators.models.spec import ModelError, ModelSpec, absolute
from operators.storage.redact import reason_of, redact, redact_uri
from operators.storage.stores import NO_OPTIONS, StorageError, StorageOptions, object_store
from operators.storage.uris import split_uri

_LEFT_BEHIND_S = 86_400.0
"""Age at which a `.part` folder must be a killed process's."""


def check_free(folder: str, storage: StorageOptions = NO_OPTIONS) -> None:
    """Raises `ModelError` where the place has a model or anything else: to be asked before a training begins."""
    spec = saved_spec(folder)
    if card_if_there(spec, storage) is not None:
        raise _taken(spec, "a model of this name is there")
    _check_no_other(spec)


def saved_spec(folder: str) -> ModelSpec:
    """The model of a folder, path or URI. Raises `ModelError` for a place that cannot be one."""
    if redact_uri(folder) != folder:
        raise ModelError(
            f"model {redact_uri(folder)!r}: leave credentials and signatures out of the address; they belong in "
            "storage.key and storage.secret, or in the environment"
        )
    place = absolute(folder).rstrip("/")
    name = place.rpartition("/")[2]
    if not re.fullmatch(r"[\w][\w.+-]*", name):
        raise ModelError(f"model {folder!r}: {name!r} is no name: use letters, digits, dots, dashes and underscores")
    return ModelSpec(name=folder, family=SAVED, architecture=place)


def move_in(part: Path, spec: ModelSpec, card: ModelCard, storage: StorageOptions) -> ModelCard:
    there = _same_there(spec, card, storage)
    if there is not None:
        return there
    _check_no_other(spec)
    try:
        # Onto a folder that holds something it fails: another process was faster.
        os.rename(part, spec.architecture)
    except OSError:
        there = _same_there(spec, card, storage)
        if there is None:
            raise
        return there
    return card


def upload(part: Path, spec: ModelSpec, card: ModelCard, storage: StorageOptions) -> ModelCard:
    there = _same_there(spec, card, storage)
    if there is not None:
        return there
    try:
        store, key = object_store(spec.architecture, storage)
        # Its name is its content: two that write at once do not meet.
        obstore.put(store, f"{key}/{card.weights_file}", part / card.weights_file)
        obstore.put(store, f"{key}/{CARD}", part / CARD, mode="create", use_multipart=False)
    except obstore.exceptions.AlreadyExistsError:
        return _same_there(spec, card, storage) or card
    except (StorageError, obstore.exceptions.BaseError) as error:
        raise ModelError(
            f"model {spec.name!r}: {redact(spec.architecture)} cannot be written: {reason_of(error)}. Check bucket and "
            "credentials"
        ) from error
    return card


def _same_there(spec: ModelSpec, card: ModelCard, storage: StorageOptions) -> ModelCard | None:
    """The card of the very same model, which is there; None where none is. Raises `ModelError` for another."""
    there = card_if_there(spec, storage)
    if there is not None and not there.same_model(card):
        raise _taken(spec, f"another model of this name is there, made {there.created}")
    return there


def _check_no_other(spec: ModelSpec) -> None:
    """Raises `ModelError` for a local folder that holds something else, or a file."""
    path = Path(spec.architecture)
    if split_uri(spec.architecture)[0] == "file" and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise _taken(spec, "something else is there")


def _taken(spec: ModelSpec, what: str) -> ModelError:
    return ModelError(
        f"model {spec.name!r}: {what}, in {redact(spec.architecture)}. A model is never overwritten, since tables may "
        "have vectors of it: choose another name, or delete that folder first"
    )


def sweep(parent: Path, spec: ModelSpec) -> None:
    for left in parent.glob(f".{Path(spec.architecture).name}.*.part"):
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < time.time() - _LEFT_BEHIND_S:
                shutil.rmtree(left)
