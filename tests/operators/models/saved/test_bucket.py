"""A model of one's own in a bucket: its card comes last, a second writer does not replace it, a worker reads it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pytest
import torch

from operators.models.canaries import canary_pixels
from operators.models.load import describe, load_image_embedder
from operators.models.runtime import Runtime
from operators.models.saved.card import CARD
from operators.models.saved.publish import check_free
from operators.models.saved.tower import trainable_tower
from operators.models.saved.write import SavedAs, save_model
from operators.models.spec import ModelError, parse_model_name
from operators.storage.stores import StorageOptions, object_store

pytestmark = pytest.mark.s3


def test_a_model_in_a_bucket(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    storage = StorageOptions.model_validate(s3.storage_options)
    place = f"s3://{s3.bucket('own')}/models/first"
    base = describe(parse_model_name("timm:test_vit/random-4"))
    about = SavedAs(base=base, recipe={"steps": 0})
    store, key = object_store(place, storage)
    # What a writer that was killed leaves behind is no model yet.
    obstore.put(store, f"{key}/model-0123456789abcdef.safetensors", b"half")
    check_free(place, storage)
    card = save_model(place, trainable_tower(base), about, storage)
    names = {meta["path"].rpartition("/")[2] for part in obstore.list(store, prefix=key) for meta in part}
    assert names == {CARD, card.weights_file, "model-0123456789abcdef.safetensors"}
    own = describe(parse_model_name(place), storage)
    assert own.weights_uri == f"{place}/{card.weights_file}"
    pixels = canary_pixels(own.preprocess, 2)
    found = load_image_embedder(own, Runtime(storage=storage)).embed(pixels)
    assert np.array_equal(found, load_image_embedder(base, Runtime()).embed(pixels))

    assert save_model(place, trainable_tower(base), about, storage) == card
    other = trainable_tower(base)
    with torch.no_grad():
        next(other.parameters()).add_(0.1)
    with pytest.raises(ModelError, match="another model of this name is there"):
        save_model(place, other, about, storage)
    with pytest.raises(ModelError, match="leave credentials and signatures out"):
        parse_model_name("s3://key:secret@bucket/models/x")

    # Of two that write at once one is refused, and what is there is whole.
    with ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(save_model, f"{place}-2", tower, about, storage) for tower in (other, trainable_tower(base))
        ]
    refused = [each.exception() for each in both if each.exception() is not None]
    assert [type(each) for each in refused] == [ModelError]
    assert describe(parse_model_name(f"{place}-2"), storage).weights_sha256 in {
        each.result().weights_sha256 for each in both if each.exception() is None
    }
