"""Models resolved in a child process: as they are described here, with canaries, and errors without a traceback."""

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from operators.models.canaries import canary_pixels
from operators.models.load import describe, load_image_embedder
from operators.models.resolve import WantedModel, resolve_models
from operators.models.runtime import Runtime
from operators.models.spec import ModelError, ModelSpec, parse_model_name
from operators.models.warm import warm_process
from operators.storage.stores import StorageOptions


def wanted(name: str, *, canaries: bool = False, runtime: Runtime = Runtime()) -> WantedModel:  # noqa: B008
    return WantedModel(spec=parse_model_name(name), runtime=runtime, canaries=canaries)


def test_several_models_come_back_in_order_as_they_are_here() -> None:
    names = ["timm:test_vit/random-0", "null", "efficientnet-lite0"]
    resolved = resolve_models([wanted(name) for name in names])
    assert [each.description for each in resolved] == [describe(parse_model_name(name)) for name in names]
    assert [each.canaries for each in resolved] == [None, None, None]


def test_canaries_are_what_the_model_gives_for_the_canary_images() -> None:
    (resolved,) = resolve_models([wanted("timm:test_vit/random-0", canaries=True, runtime=Runtime(batch_size=5))])
    assert resolved.canaries is not None
    embedder = load_image_embedder(resolved.description, Runtime())
    vectors = embedder.embed(canary_pixels(resolved.description.preprocess))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.abs(resolved.canaries.to_numpy() - unit).max() < 1e-3
    assert resolved.canaries.device == "cpu"
    assert resolved.canaries.precision == "float32"


def test_a_driver_without_a_gpu_computes_them_on_its_cpu() -> None:
    runtime = Runtime(device="cuda", precision="bfloat16")
    (resolved,) = resolve_models([wanted("timm:test_vit/random-0", canaries=True, runtime=runtime)])
    assert resolved.canaries is not None
    import torch

    expected = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    assert resolved.canaries.device == expected
    assert resolved.canaries.precision == "bfloat16"


def test_a_model_that_cannot_be_resolved_says_why() -> None:
    with pytest.raises(ModelError, match="timm has no architecture 'no_such_net'") as raised:
        resolve_models([wanted("null"), wanted("timm:no_such_net/random-0")])
    assert "\n" not in str(raised.value)


def test_a_crash_shows_its_last_words() -> None:
    broken = ModelSpec.model_construct(name="odd", family="nowhere", architecture="x")
    with pytest.raises(ModelError, match="model 'odd': could not be resolved") as raised:
        resolve_models([WantedModel(spec=broken, runtime=Runtime(), canaries=False)])
    assert "nowhere" in str(raised.value)


def test_a_crash_names_the_one_model_that_it_is_of() -> None:
    broken = ModelSpec.model_construct(name="odd", family="nowhere", architecture="x")
    odd = WantedModel(spec=broken, runtime=Runtime(), canaries=False)
    with pytest.raises(ModelError) as raised:
        resolve_models([wanted("null"), odd])
    assert str(raised.value).startswith("model 'odd': could not be resolved")


def test_the_child_is_out_of_reach_of_the_terminals_interrupt() -> None:
    assert os.getsid(warm_process().pid) not in (0, os.getsid(0))


def test_vectors_that_are_no_numbers_end_before_the_run(tmp_path: Path) -> None:
    import timm
    import torch

    state = timm.create_model("test_vit", num_classes=0).state_dict()
    state["norm.weight"] = torch.full_like(state["norm.weight"], torch.nan)
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(ModelError, match="gives NaN"):
        resolve_models([wanted(f"timm:test_vit@{tmp_path}/nan.safetensors", canaries=True)])


def test_secrets_of_the_storage_are_in_no_message() -> None:
    storage = StorageOptions(key="AKIAEXAMPLE", secret="very-secret-indeed", endpoint_url="http://127.0.0.1:9")
    broken = ModelSpec(name="timm:x@s3://b/w.safetensors", family="timm", architecture="test_vit", weights="s3://b/w")
    with pytest.raises(ModelError) as raised:
        resolve_models([WantedModel(spec=broken, runtime=Runtime(storage=storage), canaries=False)])
    assert "very-secret" not in str(raised.value)


def test_a_folder_called_operators_where_one_stands_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "operators").mkdir()
    (tmp_path / "operators" / "__init__.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    (resolved,) = resolve_models([wanted("null")])
    assert resolved.description.dim == 192
