"""`python -m operators.models.child PARENT SOCKET`: resolves models and detectors, and embeds with what it has loaded,
until its parent ends it or dies.

Each connection to the listening socket begins with memory that is shared with whoever connects, and is served by a
thread of its own.
"""

import json
import mmap
import os
import shutil
import socket
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any, NamedTuple

from operators.base.errors import UserError
from operators.base.process_settings import collect_rarely, take_long_turns

collect_rarely()

import numpy as np  # noqa: E402

from operators.models.canaries import canary_pixels, record_canaries  # noqa: E402
from operators.models.detectors.load import describe_detector  # noqa: E402
from operators.models.detectors.spec import class_numbers  # noqa: E402
from operators.models.load import (  # noqa: E402
    ImageEmbedder,
    check_regions,
    describe,
    device_name,
    load_image_embedder,
)
from operators.models.resolve import WantedDetector, WantedModel  # noqa: E402
from operators.models.runtime import Runtime  # noqa: E402
from operators.models.spec import ModelDescription  # noqa: E402

_IDLE_POLL_S = 1.0
TIMED_IMAGES = 4
_NOT_RUN = {"canaries": None, "forward_s": None}


class _CrashOfOne(Exception):
    """A bug or an outage, met with the model of this name, one of several."""


class LoadedModel(NamedTuple):
    embedder: Any
    canaries: np.ndarray | None
    """(16, dim) float32: its vectors for the canary images, where they were asked for."""


class LoadedModels:
    """Embedders by what they are and how they run, each loaded once."""

    def __init__(self) -> None:
        self._models: dict[str, LoadedModel] = {}
        self.loading = threading.RLock()
        """Held while models are resolved or loaded: libraries that build two at a time share torch's random state."""

    def get(self, description: ModelDescription, runtime: Runtime, *, canaries: bool = False) -> LoadedModel:
        key = model_key(description, runtime)
        loaded = self._models.get(key)
        if loaded is not None and (loaded.canaries is not None or not canaries):
            # Without the lock: passes do not wait for another model.
            return loaded
        with self.loading:
            model = self._models.get(key) or LoadedModel(_load(description, runtime), None)
            if canaries and model.canaries is None:
                model = LoadedModel(model.embedder, _embed_canaries(model.embedder, description))
            self._models[key] = model
            return model

    def forget_all_but(self, keys: Sequence[str]) -> None:
        with self.loading:
            self._models = {key: model for key, model in self._models.items() if key in keys}


def model_key(description: ModelDescription, runtime: Runtime) -> str:
    """What makes two embedders one: sizes of batches, and threads, may differ."""
    how = [runtime.backend, runtime.precision, runtime.device, runtime.compile]
    return json.dumps([description.model_dump(mode="json"), how], sort_keys=True)


def _load(description: ModelDescription, runtime: Runtime) -> ImageEmbedder:
    # The parent sees to it that there are no more passes at a time than it wants.
    passes = max(1, len(os.sched_getaffinity(0)) // (runtime.num_threads or 1))
    return load_image_embedder(description, replace(runtime, concurrency=passes))


def _embed_canaries(embedder: ImageEmbedder, description: ModelDescription) -> np.ndarray:
    """In halves side by side: with one thread a pass, they take two cores."""
    with ThreadPoolExecutor(2) as pool:
        return np.concatenate(list(pool.map(embedder.embed, np.split(canary_pixels(description.preprocess), 2))))


def _resolve(wanted: Sequence[WantedModel], models: LoadedModels) -> list[dict[str, Any]]:
    answers, keys = [], []
    for each in wanted:
        try:
            description = describe(each.spec, each.runtime.storage)
            if each.patches:
                check_regions(description, each.runtime)
            answer: dict[str, Any] = {"description": description.model_dump(mode="json")}
            answer |= _run(description, each, models) if each.canaries else _NOT_RUN
        except UserError:
            raise
        except Exception as error:
            raise _CrashOfOne(each.spec.name) from error
        answers.append(answer)
        keys.append(model_key(description, each.runtime))
    models.forget_all_but(keys)
    return answers


def _run(description: ModelDescription, wanted: WantedModel, models: LoadedModels) -> dict[str, Any]:
    try:
        return _canaries(description, wanted, models)
    except UserError:
        if not wanted.optional:
            raise
        return _NOT_RUN


def _canaries(description: ModelDescription, wanted: WantedModel, models: LoadedModels) -> dict[str, Any]:
    runtime = replace(wanted.runtime, compile=False)
    if device_name(runtime.device) is None:
        # The driver of a GPU cluster may have none; the workers check theirs against these.
        runtime = replace(runtime, device="cpu")
    model = models.get(description, runtime, canaries=True)
    assert model.canaries is not None
    recorded = record_canaries(
        model.canaries,
        name=wanted.spec.name,
        precision=runtime.precision,
        device=device_name(runtime.device) or runtime.device,
        backend=model.embedder.backend,
    )
    return {"canaries": recorded.model_dump(mode="json"), "forward_s": _forward_s(model.embedder, description)}


def _forward_s(embedder: ImageEmbedder, description: ModelDescription) -> float:
    """CPU seconds an image, of a pass after the first, in which libraries set up what they use again."""
    pixels = canary_pixels(description.preprocess, TIMED_IMAGES)
    started = time.process_time()
    embedder.embed(pixels)
    return (time.process_time() - started) / len(pixels)


def _resolve_detector(wanted: WantedDetector) -> dict[str, Any]:
    description = describe_detector(wanted.spec, wanted.storage)
    class_numbers(description, wanted.classes)
    return description.model_dump(mode="json")


def _answer(asked: Any, memory: "_Memory", models: LoadedModels) -> dict[str, Any]:
    match asked:
        case WantedDetector():
            with models.loading:
                return {"detector": _resolve_detector(asked)}
        case list():
            with models.loading:
                return {"models": _resolve(asked, models)}
        case (description, runtime):
            return _about(models.get(description, runtime), runtime)
        case (description, runtime, shape, boxes):
            if runtime.device == "cpu":
                take_long_turns()
            embedder, pixels_NHWC = models.get(description, runtime).embedder, memory.pixels(shape)
            if boxes is None:
                return {"vectors": embedder.embed(pixels_NHWC)}
            return {"vectors": embedder.embed_regions(pixels_NHWC, boxes)}
    raise TypeError(f"no request: {asked!r}")


def _about(model: LoadedModel, runtime: Runtime) -> dict[str, Any]:
    """What the other end must know of a model to have it used as it wants."""
    if runtime.batch_size == "auto" and hasattr(model.embedder, "try_batches"):
        model.embedder.try_batches()
    return {
        "takes_regions": getattr(model.embedder, "takes_regions", False),
        "canaries": model.canaries,
        "device": device_name(runtime.device) or runtime.device,
        "backend": model.embedder.backend,
        "batch_size": getattr(model.embedder, "batch_size", runtime.images_per_pass),
    }


class _Memory:
    """What pixels are written into at the other end; mapped anew when it has grown."""

    def __init__(self, file: int) -> None:
        self._file = file
        weakref.finalize(self, os.close, file)
        self._mapping: mmap.mmap | None = None

    def pixels(self, shape: tuple[int, ...]) -> np.ndarray:
        """(N, H, W, 3) uint8, a view: the other end waits for the answer before it writes again."""
        size = os.fstat(self._file).st_size
        if self._mapping is None or len(self._mapping) != size:
            self._mapping = mmap.mmap(self._file, size)
        return np.frombuffer(self._mapping, np.uint8, int(np.prod(shape))).reshape(shape)


def _serve(connection: Connection, models: LoadedModels) -> None:
    """Answer requests until the other end is closed."""
    try:
        memory = _Memory(recv_handle(connection))
        while True:
            request = connection.recv()
            try:
                answer = _answer(request, memory, models)
            except UserError as error:
                answer = {"error": str(error)}
            except Exception as error:
                model = str(error) if isinstance(error, _CrashOfOne) else None
                answer = {"crash": traceback.format_exc()[-4000:], "model": model}
            connection.send(answer)
    except (EOFError, OSError):
        connection.close()


def _end_with(parent: int, address: str) -> None:
    """End once the parent has died, in the middle of a forward pass too, and take away what it cannot any more."""
    while os.getppid() == parent:
        time.sleep(_IDLE_POLL_S)
    shutil.rmtree(os.path.dirname(address), ignore_errors=True)
    os._exit(0)


def main() -> None:
    parent, descriptor = map(int, sys.argv[1:])
    models = LoadedModels()
    with socket.socket(fileno=descriptor) as listening:
        threading.Thread(target=_end_with, args=(parent, listening.getsockname()), daemon=True).start()
        while True:
            connection = Connection(listening.accept()[0].detach())
            threading.Thread(target=_serve, args=(connection, models), daemon=True).start()


if __name__ == "__main__":
    main()
