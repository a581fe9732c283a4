"""Models resolved on the driver, in a child process: torch is imported in the child and not here."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import indent
from typing import Any

from operators.models.canaries import Canaries
from operators.models.detectors.spec import DetectorDescription
from operators.models.families import LIGHT
from operators.models.known import Known, recall, remember
from operators.models.load import describe
from operators.models.process import ModelProcess, ModelProcessError
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription, ModelError, ModelSpec
from operators.models.warm import warm_process
from operators.storage.stores import NO_OPTIONS, StorageOptions

_PASS_ON_S = 0.2


@dataclass(frozen=True, kw_only=True)
class WantedModel:
    """A model to resolve."""

    spec: ModelSpec
    runtime: Runtime
    canaries: bool
    """Whether to embed the canary images too."""
    optional: bool = False
    """Whether `canaries` are left out, and no error is raised, where it cannot be run so."""
    patches: bool = False
    """Whether regions are to be pooled from its patches, which not every model can give."""


@dataclass(frozen=True, kw_only=True)
class WantedDetector:
    """An object detector to resolve."""

    spec: ModelSpec
    storage: StorageOptions = NO_OPTIONS
    classes: tuple[str | int, ...] = ()
    """Classes that it must know."""


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A resolved model, and its vectors for the canary images."""

    description: ModelDescription
    canaries: Canaries | None
    forward_s: float | None
    """CPU seconds of the forward pass on one image here; None where no canaries were asked for."""


def resolve_models(wanted: Sequence[WantedModel]) -> list[Resolved]:
    """Find or download the weights, hash them, and ask the library for dim and preprocessing, for each model in turn.

    Raises `ModelError` with the reason for the first that cannot be resolved.
    """
    with resolving_models(wanted) as resolved:
        return resolved()


@contextmanager
def resolving_models(wanted: Sequence[WantedModel]) -> Iterator[Callable[[], list[Resolved]]]:
    """Runs `resolve_models` while the block runs; the block waits for the result by the call that it is given. When the
    block is left early, by Ctrl-C or another error, the work is given up at once. Otherwise the models stay loaded in
    this process's warm process (`operators.models.warm`)."""
    if all(each.spec.family in LIGHT for each in wanted):
        yield lambda: [
            Resolved(description=describe(each.spec, each.runtime.storage), canaries=None, forward_s=None)
            for each in wanted
        ]
        return
    known = [_recalled(each) for each in wanted]
    if all(known):
        yield lambda: [Resolved(**each._asdict()) for each in known if each]
        return
    with _answering(list(wanted), [each.spec.name for each in wanted]) as answer:
        yield lambda: [_resolved(*each) for each in zip(wanted, answer()["models"], strict=True)]


def _recalled(wanted: WantedModel) -> Known | None:
    """What is remembered of it. That a model could not be run is an answer where that is optional, and else none: the
    reason is not remembered."""
    known = recall(wanted.spec, wanted.runtime, canaries=wanted.canaries, patches=wanted.patches)
    refused = known is not None and wanted.canaries and known.canaries is None
    return None if refused and not wanted.optional else known


def _resolved(wanted: WantedModel, answer: dict[str, Any]) -> Resolved:
    """What the child answered, which is remembered."""
    description = ModelDescription.model_validate(answer["description"])
    canaries = Canaries.model_validate(answer["canaries"]) if answer["canaries"] else None
    known = Known(description, canaries, answer["forward_s"])
    remember(wanted.spec, wanted.runtime, known, canaries=wanted.canaries, patches=wanted.patches)
    return Resolved(**known._asdict())


@contextmanager
def resolving_detector(wanted: WantedDetector) -> Iterator[Callable[[], DetectorDescription]]:
    """Like `resolving_models`, for a detector: finds or downloads the weights, hashes them, asks the library for the
    classes."""
    with _answering(wanted, [wanted.spec.name]) as answer:
        yield lambda: DetectorDescription.model_validate(answer()["detector"])


@contextmanager
def _answering(asked: list[WantedModel] | WantedDetector, names: list[str]) -> Iterator[Callable[[], dict[str, Any]]]:
    process = warm_process()
    # The pool is left last: its thread ends with the answer.
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(_ask, process, asked, names)
        try:
            yield answer.result
        finally:
            if not answer.done():
                process.close()


def _ask(process: ModelProcess, asked: list[WantedModel] | WantedDetector, names: list[str]) -> dict[str, Any]:
    try:
        with _passing_on(process):
            return process.ask(asked)
    except ModelProcessError as error:
        of, said = [error.model] if error.model else names, indent(str(error), "  ")
        raise ModelError(f"model {', '.join(map(repr, of))}: could not be resolved:\n{said}") from error


@contextmanager
def _passing_on(process: ModelProcess) -> Iterator[None]:
    """Writes our own lines to stderr as they come; the libraries' progress and warnings are dropped."""
    over = threading.Event()

    def pass_on() -> None:
        last = False
        while not last:
            last = over.wait(_PASS_ON_S)
            for line in process.new_lines():
                if line.startswith("pixlake: "):
                    print(line, file=sys.stderr)

    passing = threading.Thread(target=pass_on, name="model-process-says", daemon=True)
    passing.start()
    try:
        yield
    finally:
        over.set()
        passing.join()
