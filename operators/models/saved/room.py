"""A network is built within what its weights take: a card that asks for more is refused before it has the memory."""

import math
import os
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from operators.models.spec import ModelError, ModelSpec
from operators.models.weights.find import LocalWeights

TIMES = 4
"""Bytes that may be asked for, as a multiple of the weights' file: it lacks the text tower that CoCa draws first."""
BESIDE_BYTES = 1 << 30
"""As much more for any network: what is computed for it and is no weight."""
MOST_TENSORS = 100_000
"""Of one network; the largest of open_clip ask for some thousand. Each of them and its module take memory of their
own."""


class Room(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, tensors that are made from sizes alone are counted before they are made. Raises `ModelError`
    for the one that is too many."""

    def __init__(self, spec: ModelSpec, weights: LocalWeights) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._name, self._file = spec.name, weights.uri
        self._file_bytes = os.path.getsize(weights.path)
        self._bytes = self._tensors = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if args and isinstance(args[0], list | tuple) and all(isinstance(each, int) for each in args[0]):
            item = (given.get("dtype") or torch.get_default_dtype()).itemsize
            self._count(math.prod(args[0]) * item)
        return function(*args, **given)

    def _count(self, more: int) -> None:
        self._bytes, self._tensors = self._bytes + more, self._tensors + 1
        if self._bytes > TIMES * self._file_bytes + BESIDE_BYTES or self._tensors > MOST_TENSORS:
            raise ModelError(
                f"model {self._name!r}: its card asks for a network of over {self._bytes:,} bytes in {self._tensors:,} "
                f"tensors, and {self._file} has {self._file_bytes:,} bytes: they are not of one model. Copy the folder "
                "again from where it was made"
            )
