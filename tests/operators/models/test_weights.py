"""Weights files: what is opened, what is refused, and how weights are told apart."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from operators.models.load import describe
from operators.models.spec import ModelError, parse_model_name
from operators.models.weights import (
    apply_state_dict,
    check_unchanged,
    check_weights,
    load_state_dict,
    sha256_of_module,
)

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


def test_a_safetensors_file_is_hashed_and_loaded(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(small().state_dict(), path)
    assert check_weights(SPEC, str(path)) == hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = load_state_dict(str(path))
    assert all(torch.equal(loaded[name], value) for name, value in small().state_dict().items())


def test_a_pickle_without_a_pin_is_refused_and_the_pin_is_shown(pickle: Path) -> None:
    digest = hashlib.sha256(pickle.read_bytes()).hexdigest()
    with pytest.raises(ModelError, match=f"is a pickle, which may run code .* --set model.sha256={digest}"):
        check_weights(SPEC, str(pickle))


def test_a_pinned_pickle_is_opened(pickle: Path) -> None:
    digest = hashlib.sha256(pickle.read_bytes()).hexdigest()
    assert check_weights(pinned(digest.upper()), str(pickle)) == digest
    assert load_state_dict(str(pickle)).keys() == small().state_dict().keys()


def test_even_a_pinned_pickle_runs_no_code(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> object:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"w": Attack()}, tmp_path / "evil.pt")
    with pytest.raises(Exception, match=r"[wW]eights.only"):
        load_state_dict(str(tmp_path / "evil.pt"))
    assert not (tmp_path / "ran").exists()


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(small().state_dict(), path)
    with pytest.raises(ModelError, match=f"has sha256 [0-9a-f]{{64}}, but {'ab' * 32} is pinned"):
        check_weights(pinned("ab" * 32), str(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"weights file .*/nothing.safetensors is not there"):
        check_weights(SPEC, str(tmp_path / "nothing.safetensors"))


def test_tensors_that_do_not_fit_are_named() -> None:
    state = small().state_dict()
    del state["0.bias"]
    state["0.weight"] = torch.zeros(5, 3)
    state["head.weight"] = torch.zeros(1)
    with pytest.raises(ModelError) as error:
        apply_state_dict(SPEC, small(), state)
    for says in ("missing 0.bias", "unexpected head.weight", "0.weight is (5, 3), expected (4, 3)", "resnet18"):
        assert says in str(error.value)


def test_of_many_wrong_tensors_five_are_named() -> None:
    with pytest.raises(ModelError, match=r"and 2 more$"):
        apply_state_dict(SPEC, small(), {})


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


def test_a_worker_with_other_weights_is_refused() -> None:
    model = describe(parse_model_name("null"))
    check_unchanged(model, model.weights_sha256)
    with pytest.raises(ModelError, match="give every node the same file"):
        check_unchanged(model, "0" * 64)
