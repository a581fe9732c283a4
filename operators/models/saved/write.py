"""Saves a trained network as a model of one's own: whole or not at all, and never over another."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from operators.models.canaries import canary_pixels, library_versions
from operators.models.runtime import Runtime
from operators.models.saved.card import (
    CARD,
    SAVED,
    ModelCard,
    SavedBase,
    SavedNetwork,
    TeacherSpace,
    TextTower,
    card_of,
)
from operators.models.saved.folder import MOST_CARD_BYTES
from operators.models.saved.publish import move_in, saved_spec, sweep, upload
from operators.models.saved.tower import (
    IMAGE,
    PROJECTION,
    TEXT,
    OwnTower,
    saved_image,
    saved_text,
    trainable_tower,
)
from operators.models.spec import ModelDescription, ModelError, ModelSpec
from operators.models.towers.embedder import TorchEmbedder
from operators.models.weights.find import LocalWeights
from operators.models.weights.hash import sha256_of_file
from operators.pixels.preprocess import Preprocess
from operators.storage.redact import redact
from operators.storage.stores import NO_OPTIONS, StorageOptions
from operators.storage.uris import split_uri

LEAST_COSINE = 0.9999
"""Of the canary images, between the network that was given and the one that was saved: rounding alone differs."""


@dataclass(frozen=True, kw_only=True)
class SavedAs:
    """What is said of a trained network beside its tensors. All of it is written into the card."""

    base: ModelDescription
    """The model that the training began with, as it was resolved."""
    dims: tuple[int, ...] = ()
    """Lengths that the vectors were trained to be cut to."""
    text: TextTower = "absent"
    """With `held` the text tower may be left out of the network: the base's own is taken."""
    teacher: TeacherSpace | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)


def save_model(folder: str, tower: OwnTower, about: SavedAs, storage: StorageOptions = NO_OPTIONS) -> ModelCard:
    """Write the model, and give its card. What is written is read back and must give the same vectors.

    The folder (path, `s3:`, `gs:` or `az:`) appears whole: a local one by a rename, one in a bucket by its card, which
    comes last. The very same model that is there already is left as it is. Raises `ModelError` where another is there,
    and where the network is not the base's with other weights (adapters that were not merged, layers that were
    replaced).
    """
    spec = saved_spec(folder)
    here = split_uri(spec.architecture)[0] == "file"
    parent = Path(spec.architecture).parent if here else Path(tempfile.gettempdir())
    try:
        parent.mkdir(parents=True, exist_ok=True)
        sweep(parent, spec)
        part = parent / f".{Path(spec.architecture).name}.{uuid.uuid4().hex}.part"
        part.mkdir()
        try:
            card = _write(part, spec, tower, about, storage)
            return move_in(part, spec, card, storage) if here else upload(part, spec, card, storage)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        place = redact(error.filename or spec.architecture)
        raise ModelError(f"model {spec.name!r}: {place} cannot be written: {error.strerror or error}") from error


def _write(part: Path, spec: ModelSpec, tower: OwnTower, about: SavedAs, storage: StorageOptions) -> ModelCard:
    """The two files in the folder `part`, read back and tried."""
    if about.text == "held" and tower.text is None:
        tower = OwnTower(tower.image, tower.projection, trainable_tower(about.base, storage, text=True).text)
    tensors = _tensors(tower, text=about.text != "absent")
    file = part / "model.safetensors"
    save_file(tensors, file)
    digest = sha256_of_file(str(file))
    card = _card(spec, tower, about, digest, file.stat().st_size)
    _synced(file.rename(part / card.weights_file))
    text = card.model_dump_json(indent=1)
    if len(text.encode()) > MOST_CARD_BYTES:
        raise ModelError(f"model {spec.name!r}: its card is larger than {MOST_CARD_BYTES:,} bytes; shorten the recipe")
    (part / CARD).write_text(text)
    _synced(part / CARD)
    _check_read_back(spec, card, tower, LocalWeights(str(part / card.weights_file), digest, card.weights_file))
    return card


def _tensors(tower: OwnTower, *, text: bool) -> dict[str, torch.Tensor]:
    """The tensors to write, in float32 on the CPU, each with memory of its own."""
    wanted = (IMAGE, PROJECTION, TEXT) if text else (IMAGE, PROJECTION)
    return {
        name: (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu().contiguous().clone()
        for name, tensor in tower.state_dict().items()
        if name.startswith(wanted)
    }


def _card(spec: ModelSpec, tower: OwnTower, about: SavedAs, digest: str, size: int) -> ModelCard:
    base, projection = about.base, tower.projection.describe() if tower.projection else None
    network = card_of(base).network if base.spec.family == SAVED else _network(base)
    dim = projection.outputs if projection else _own_dim(base)
    try:
        return ModelCard(
            name=spec.architecture.rpartition("/")[2],
            weights_sha256=digest,
            weights_bytes=size,
            base=SavedBase(name=base.spec.name, family=base.spec.family, weights_sha256=base.weights_sha256),
            network=network,
            preprocess=base.preprocess,
            projection=projection,
            dim=dim,
            dims=tuple(sorted(about.dims, reverse=True)),
            text=about.text,
            teacher=about.teacher,
            recipe=dict(about.recipe),
            data=dict(about.data),
            before=dict(about.before),
            after=dict(about.after),
            versions=library_versions(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    except ValueError as error:
        raise ModelError(f"model {spec.name!r}: cannot be saved: {error}") from error


def _own_dim(base: ModelDescription) -> int:
    """Length of the vectors of the base's tower, before a projection."""
    if base.spec.family == SAVED and (own := card_of(base).projection):
        return own.inputs
    return base.dim


def _network(base: ModelDescription) -> SavedNetwork:
    spec, config = base.spec, base.architecture_config
    named = spec.architecture.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    if spec.family == "timm" and config:
        named = config["architecture"]
    return SavedNetwork.model_validate(
        {
            "family": spec.family,
            "architecture": named,
            "config": config,
            "network": base.network,
            "quick_gelu": base.quick_gelu,
            "pooling": spec.pooling,
            "gem_power": spec.gem_power,
            "layer": spec.layer,
            "final_norm": spec.final_norm,
            "image_size": spec.preprocess.image_size,
        }
    )


def _check_read_back(spec: ModelSpec, card: ModelCard, tower: OwnTower, weights: LocalWeights) -> None:
    """Raises `ModelError` unless the files give the network's own vectors of canary images."""
    read = saved_image(spec, card, weights)
    if card.text != "absent":
        saved_text(spec, card, weights)
    pixels = canary_pixels(card.preprocess, 4)
    found = TorchEmbedder(read, card.preprocess, Runtime(batch_size=4)).embed(pixels).astype(np.float64)
    given = _vectors(tower, card.preprocess, pixels).astype(np.float64)
    if found.shape == given.shape:
        cosines = (found * given).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(given, axis=1)
        # NaN compares as false with anything, so it must be the comparison that passes.
        if (cosines >= LEAST_COSINE).all():
            return
    raise ModelError(
        f"model {spec.name!r}: what was saved does not give the vectors of the network that was trained: it computes "
        "something else than its base's network with other weights. Nothing was written"
    )


def _vectors(tower: OwnTower, preprocess: Preprocess, pixels_NHWC: np.ndarray) -> np.ndarray:
    """(N, dim) float32 of the network as it was given, on its own device; it is left in the mode that it was in."""
    modes = {name: module.training for name, module in tower.named_modules()}
    device = next(tower.parameters()).device
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (preprocess.mean, preprocess.std))
    x_NCHW = (torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2).float() / 255 - mean) / std
    try:
        with torch.inference_mode():
            vectors: np.ndarray = tower.eval()(x_NCHW.to(device)).float().cpu().numpy()
    finally:
        for name, module in tower.named_modules():
            module.training = modes[name]
    return vectors


def _synced(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
