"""From a weights file to a module: its tensors read, and loaded strictly. A pickle only with `weights_only`."""

import hashlib

import torch
from safetensors.torch import load_file

from operators.base.errors import clean_message
from operators.models.spec import ModelError, ModelSpec
from operators.models.weights.find import LocalWeights

StateDict = dict[str, torch.Tensor]


def load_tensors(spec: ModelSpec, weights: LocalWeights) -> StateDict:
    """The tensors of a file that `find_weights` gave, safetensors or pickle. Raises `ModelError`."""
    return load_file(weights.path) if weights.path.endswith(".safetensors") else load_pickle(spec, weights.path)


def load_pickle(spec: ModelSpec, path: str) -> StateDict:
    """The tensors of a pickle that `find_weights` gave. Raises `ModelError`."""
    try:
        state: StateDict = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(
            f"model {spec.name!r}: {path} is truncated, or holds more than tensors, which is not opened "
            f"({clean_message(str(error))}); use a .safetensors file"
        ) from error
    return state


def apply_state_dict(spec: ModelSpec, module: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Load strictly. Raises `ModelError` naming the first five tensors that are missing, unexpected or of another
    shape."""
    expected = module.state_dict()
    missing = [f"missing {k}" for k in expected if k not in state]
    unexpected = [f"unexpected {k}" for k in state if k not in expected]
    other = [
        f"{k} is {tuple(state[k].shape)}, expected {tuple(v.shape)}"
        for k, v in expected.items()
        if k in state and state[k].shape != v.shape
    ]
    if missing or unexpected or other:
        shown = missing[:5] + unexpected[:5] + other[:5]
        more = len(missing) + len(unexpected) + len(other) - len(shown)
        raise ModelError(
            f"model {spec.name!r}: the weights do not fit {spec.architecture}: {'; '.join(shown)}"
            + (f" and {more} more" if more else "")
        )
    module.load_state_dict(state)


def sha256_of_module(module: torch.nn.Module) -> str:
    """sha256, hex, over names and bytes of all tensors: identifies random weights, which no file holds."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
