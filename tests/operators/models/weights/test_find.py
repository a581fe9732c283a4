"""Weights files: what is opened, what is refused, and how weights are told apart."""

import hashlib
from pathlib import Path
from typing import Any

import obstore
import pytest
import torch
from safetensors.torch import save_file

from operators.models.load import describe
from operators.models.spec import ModelError, parse_model_name
from operators.models.weights.find import check_unchanged, find_weights
from operators.models.weights.tensors import apply_state_dict, load_pickle, sha256_of_module
from operators.storage.stores import NO_OPTIONS, StorageOptions, object_store

SPEC = parse_model_name("timm:resnet18@weights.safetensors")


def pinned(digest: str):  # type: ignore[no-untyped-def]
    return SPEC.model_copy(update={"sha256": digest})


def small(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))


@pytest.fixture
def pickle(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pt"
    torch.save(small().state_dict(), path)
    return path


@pytest.fixture
def safetensors(tmp_path: Path) -> Path:
    path = tmp_path / "w.safetensors"
    save_file(small().state_dict(), path)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_safetensors_file_is_found_and_hashed(safetensors: Path) -> None:
    found = find_weights(SPEC, str(safetensors), NO_OPTIONS)
    assert found == (str(safetensors), sha256(safetensors), str(safetensors))


def test_a_file_uri_is_a_path(safetensors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spaced = safetensors.rename(safetensors.with_name("a b.safetensors"))
    monkeypatch.chdir(spaced.parent)
    for uri in (spaced.as_uri(), "file:a%20b.safetensors", "a b.safetensors"):
        assert parse_model_name(f"timm:resnet18@{uri}").weights == str(spaced)
        assert find_weights(SPEC, uri, NO_OPTIONS).uri == str(spaced)
    with pytest.raises(ModelError, match="write file:///absolute/path"):
        parse_model_name("timm:resnet18@file://host/w.safetensors")


@pytest.mark.parametrize("uri", ["https://host/w.safetensors", "ftp://host/w.safetensors"])
def test_other_schemes_are_refused(uri: str) -> None:
    with pytest.raises(ModelError, match="Use a path, s3://, gs://, az:// or hf://OWNER/NAME/FILENAME"):
        find_weights(SPEC, uri, NO_OPTIONS)


def test_a_worker_takes_the_planned_file_alone(safetensors: Path) -> None:
    planned = find_weights(SPEC, str(safetensors), NO_OPTIONS)
    assert find_weights(SPEC, planned.uri, NO_OPTIONS, planned.sha256) == planned
    save_file(small(1).state_dict(), safetensors)
    with pytest.raises(ModelError, match=rf"planned with {planned.sha256}; give every node the same file") as error:
        find_weights(SPEC, planned.uri, NO_OPTIONS, planned.sha256)
    assert f"this node has weights with sha256 {sha256(safetensors)}" in str(error.value)


def test_a_pickle_without_a_pin_is_refused_and_the_pin_is_shown(pickle: Path) -> None:
    with pytest.raises(ModelError, match=f"is a pickle, which may run code .* --set model.sha256={sha256(pickle)}"):
        find_weights(SPEC, str(pickle), NO_OPTIONS)
    # What the plan says is not what the user trusts.
    with pytest.raises(ModelError, match="is a pickle"):
        find_weights(SPEC, str(pickle), NO_OPTIONS, sha256(pickle))


def test_a_pinned_pickle_is_opened(pickle: Path) -> None:
    assert find_weights(pinned(sha256(pickle).upper()), str(pickle), NO_OPTIONS).sha256 == sha256(pickle)
    assert load_pickle(SPEC, str(pickle)).keys() == small().state_dict().keys()


def test_even_a_pinned_pickle_runs_no_code(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> object:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"w": Attack()}, tmp_path / "evil.pt")
    with pytest.raises(ModelError, match="holds more than tensors, which is not opened"):
        load_pickle(SPEC, str(tmp_path / "evil.pt"))
    assert not (tmp_path / "ran").exists()


def test_a_file_that_is_not_the_pinned_one_is_refused(safetensors: Path) -> None:
    with pytest.raises(ModelError, match=f"has sha256 {sha256(safetensors)}, but {'ab' * 32} is pinned"):
        find_weights(pinned("ab" * 32), str(safetensors), NO_OPTIONS)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"weights file .*/nothing.safetensors is not there"):
        find_weights(SPEC, str(tmp_path / "nothing.safetensors"), NO_OPTIONS)


@pytest.mark.parametrize("left", [0, 7, 100, -1])
def test_a_file_cut_off_is_said_to_be(safetensors: Path, left: int) -> None:
    safetensors.write_bytes(safetensors.read_bytes()[:left])
    with pytest.raises(ModelError, match=r"resnet18.*w.safetensors is truncated or not safetensors"):
        find_weights(SPEC, str(safetensors), NO_OPTIONS)


def test_a_pickle_cut_off_is_said_to_be(pickle: Path) -> None:
    pickle.write_bytes(pickle.read_bytes()[:-100])
    with pytest.raises(ModelError, match="is truncated, or holds more than tensors"):
        load_pickle(SPEC, str(pickle))


@pytest.mark.s3
def test_an_object_is_the_file_it_was_planned_with(
    s3: Any, safetensors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    storage = StorageOptions.model_validate(s3.storage_options)
    uri = f"s3://{s3.bucket('found')}/w.safetensors"
    store, key = object_store(uri, storage)
    obstore.put(store, key, safetensors)
    planned = find_weights(SPEC, uri, storage)
    assert planned[1:] == (sha256(safetensors), uri)
    assert find_weights(SPEC, uri, storage, planned.sha256) == planned
    with pytest.raises(ModelError, match=f"but {'ab' * 32} is pinned"):
        find_weights(pinned("ab" * 32), uri, storage)
    obstore.put(store, key, b"another")
    with pytest.raises(ModelError, match=rf"{uri} \(here .*weights.safetensors\) is truncated or not safetensors"):
        find_weights(SPEC, uri, storage)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other_node"))
    with pytest.raises(ModelError, match=f"planned with {planned.sha256}; give every node the same file: {uri}"):
        find_weights(SPEC, uri, storage, planned.sha256)


def test_tensors_that_do_not_fit_are_named() -> None:
    state = small().state_dict()
    del state["0.bias"]
    state["0.weight"] = torch.zeros(5, 3)
    state["head.weight"] = torch.zeros(1)
    with pytest.raises(ModelError) as error:
        apply_state_dict(SPEC, small(), state)
    for says in ("missing 0.bias", "unexpected head.weight", "0.weight is (5, 3), expected (4, 3)", "resnet18"):
        assert says in str(error.value)


def test_of_many_wrong_tensors_five_of_a_kind_are_named() -> None:
    with pytest.raises(ModelError) as error:
        apply_state_dict(SPEC, small(), {f"module.{name}": tensor for name, tensor in small().state_dict().items()})
    said = str(error.value)
    assert said.count("missing ") == said.count("unexpected module.") == 5
    assert said.endswith(" and 4 more")


def test_tensors_that_fit_are_loaded() -> None:
    module = small(1)
    apply_state_dict(SPEC, module, small(2).state_dict())
    assert sha256_of_module(module) == sha256_of_module(small(2))


def test_random_weights_are_told_by_their_bytes() -> None:
    assert sha256_of_module(small(0)) == sha256_of_module(small(0))
    assert sha256_of_module(small(0)) != sha256_of_module(small(1))
    fixed = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        fixed.weight[:] = torch.tensor([[1.0, 2.0]])
    raw = b"weight" + bytes.fromhex("0000803f00000040")
    assert sha256_of_module(fixed) == hashlib.sha256(raw).hexdigest()


def test_a_worker_that_draws_other_weights_is_refused() -> None:
    model = describe(parse_model_name("null"))
    check_unchanged(model.spec, model.weights_sha256, model.weights_sha256)
    with pytest.raises(ModelError, match=r"install the same versions of torch .* on every node"):
        check_unchanged(model.spec, model.weights_sha256, "0" * 64)
