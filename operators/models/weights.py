"""Weights files: found, hashed, checked, loaded. safetensors by default; pickle only `weights_only` and pinned."""

import hashlib
import os

import torch

from operators.models.spec import ModelDescription, ModelError, ModelSpec


def sha256_of_file(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_weights(spec: ModelSpec, path: str) -> str:
    """The file's sha256, hex. Raises `ModelError` when it is not the pinned one, or is a pickle without a pin."""
    if not os.path.isfile(path):
        raise ModelError(f"model {spec.name!r}: weights file {path} is not there")
    digest = sha256_of_file(path)
    if spec.sha256 and digest != spec.sha256.lower():
        raise ModelError(f"model {spec.name!r}: {path} has sha256 {digest}, but {spec.sha256} is pinned")
    if not path.endswith(".safetensors") and not spec.sha256:
        raise ModelError(
            f"model {spec.name!r}: {path} is a pickle, which may run code when opened. Use a .safetensors file, "
            f"or pin this file, if you trust it, with --set model.sha256={digest}"
        )
    return digest


def check_unchanged(description: ModelDescription, digest: str) -> None:
    """Raises `ModelError` when a worker found other weights than the driver recorded in the space."""
    if digest != description.weights_sha256:
        raise ModelError(
            f"model {description.spec.name!r}: this node has weights with sha256 {digest}, the run was planned with "
            f"{description.weights_sha256}; give every node the same file"
        )


def load_state_dict(path: str) -> dict[str, torch.Tensor]:
    """The tensors of a file that `check_weights` has passed."""
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        tensors: dict[str, torch.Tensor] = load_file(path)
        return tensors
    state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def apply_state_dict(spec: ModelSpec, module: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Load strictly; raises `ModelError` naming the first keys or shapes that differ."""
    expected = module.state_dict()
    wrong = [f"missing {k}" for k in expected if k not in state]
    wrong += [f"unexpected {k}" for k in state if k not in expected]
    wrong += [
        f"{k} is {tuple(state[k].shape)}, expected {tuple(v.shape)}"
        for k, v in expected.items()
        if k in state and state[k].shape != v.shape
    ]
    if wrong:
        raise ModelError(
            f"model {spec.name!r}: the weights do not fit {spec.architecture}: {'; '.join(wrong[:5])}"
            + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        )
    module.load_state_dict(state)


def sha256_of_module(module: torch.nn.Module) -> str:
    """sha256, hex, over names and bytes of all tensors: identifies random weights, which no file holds."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
