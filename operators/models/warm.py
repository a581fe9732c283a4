"""The model process that this process keeps warm, and embedders of whatever is loaded in it.

A process has one at most. What resolves models starts it or takes the one that is there; embed operators and queries in
the same process, and in processes that it starts once it shares it, use it rather than loading the model once more.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np

from operators.base.lent import Lent
from operators.models.families import LIGHT
from operators.models.load import ImageEmbedder, load_image_embedder
from operators.models.process import ModelClient, ModelProcess, ModelProcessError
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription

SHARED = "PIXLAKE_MODEL_PROCESS"
"""Environment variable: the address of the model process that a parent shares."""

_HEARD = ("HF_", "AWS_", "AZURE_", "GOOGLE_", "XDG_", "HTTP", "http")
"""Beginnings of environment variables by which weights are found and fetched."""

_lock = threading.Lock()
_kept: ModelProcess | None = None
_environment: dict[str, str] = {}
"""What of the environment the process that is kept was started with."""
_parents: ModelClient | None = None


def warm_process() -> ModelProcess:
    """The process that is kept, or a new one, which is then the one that is kept: also where a token or an address was
    set since it was started."""
    global _kept, _environment
    heard = {name: value for name, value in os.environ.items() if name.startswith(_HEARD)}
    with _lock:
        if _kept is not None and heard != _environment:
            _kept.close()
        if _kept is None or not _kept.alive:
            _kept, _environment = ModelProcess(), heard
        return _kept


def end_warm_process() -> None:
    """End the process that is kept, if there is one, for its memory: where others run the model."""
    global _kept
    with _lock:
        kept, _kept = _kept, None
    if kept is not None:
        kept.close()


@contextmanager
def sharing() -> Iterator[None]:
    """Processes that are started while it is entered, and theirs, use the process that is kept, if there is one."""
    with _lock:
        shared = _kept if _kept is not None and _kept.alive else None
    if shared is None:
        yield
        return
    before = os.environ.get(SHARED)
    os.environ[SHARED] = shared.address
    try:
        yield
    finally:
        if before is None:
            del os.environ[SHARED]
        else:
            os.environ[SHARED] = before


def image_embedder(description: ModelDescription, runtime: Runtime) -> ImageEmbedder:
    """As `load_image_embedder`, in the warm process where there is one."""
    global _parents
    process = _there(description)
    # One that has died is no reason to fail again: the model is loaded here then.
    with suppress(ModelProcessError):
        if process is not None:
            return WarmEmbedder(process, description, runtime)
    _parents = None
    return load_image_embedder(description, runtime)


def _there(description: ModelDescription) -> ModelClient | None:
    global _parents
    if description.spec.family in LIGHT:
        return None
    with _lock:
        if _kept is not None and _kept.alive:
            return _kept
        if _parents is None and SHARED in os.environ:
            with suppress(OSError):
                _parents = ModelClient(os.environ[SHARED])
        return _parents


class WarmEmbedder:
    """A model in the warm process."""

    def __init__(self, process: ModelClient, description: ModelDescription, runtime: Runtime) -> None:
        self._process, self._description, self._runtime = process, description, runtime
        self._passes = Lent(range(runtime.concurrency))
        loaded = process.ask((description, runtime))
        self.takes_regions: bool = loaded["takes_regions"]
        self.canaries: np.ndarray | None = loaded["canaries"]
        """(16, dim) float32: what it gave for the canary images when it was resolved."""
        self.backend: str = loaded["backend"]
        self.batch_size: int = loaded["batch_size"] if runtime.batch_size == "auto" else runtime.batch_size
        self.device: str = loaded["device"]
        """`cpu`, or the GPU's own name."""

    def embed(self, pixels_NHWC: np.ndarray) -> np.ndarray:
        """From (N, H, W, 3) uint8 to (N, dim) float32, in micro-batches of `batch_size`."""
        return np.concatenate([self._embed(pixels_NHWC[batch], None) for batch in self._batches(len(pixels_NHWC))])

    def embed_regions(self, pixels_NHWC: np.ndarray, boxes: Sequence[np.ndarray]) -> np.ndarray:
        """As `RegionEmbedder.embed_regions`."""
        batches = self._batches(len(pixels_NHWC))
        return np.concatenate([self._embed(pixels_NHWC[batch], boxes[batch]) for batch in batches])

    def _batches(self, count: int) -> Iterator[slice]:
        for start in range(0, count, self.batch_size):
            yield slice(start, start + self.batch_size)

    def _embed(self, pixels_NHWC: np.ndarray, boxes: Sequence[np.ndarray] | None) -> np.ndarray:
        with self._passes.one():
            return self._process.embed(self._description, self._runtime, pixels_NHWC, boxes)
