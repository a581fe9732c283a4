"""Models resolved on the driver, in a child process: torch is imported in the child and not here."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from operators.models.canaries import Canaries
from operators.models.detectors.spec import DetectorDescription
from operators.models.load import Runtime
from operators.models.spec import ModelDescription, ModelError, ModelSpec
from operators.storage.redact import redact
from operators.storage.stores import NO_OPTIONS, StorageOptions


@dataclass(frozen=True, kw_only=True)
class WantedModel:
    """A model to resolve."""

    spec: ModelSpec
    runtime: Runtime
    canaries: bool
    """Whether to embed the canary images too."""
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


def resolve_models(wanted: Sequence[WantedModel]) -> list[Resolved]:
    """Find or download the weights, hash them, and ask the library for dim and preprocessing, for each model in turn.

    Raises `ModelError` with the reason for the first that cannot be resolved.
    """
    with resolving_models(wanted) as resolved:
        return resolved()


@contextmanager
def resolving_models(wanted: Sequence[WantedModel]) -> Iterator[Callable[[], list[Resolved]]]:
    """Runs `resolve_models` while the block runs; the block waits for the result by the call that it is given. When the
    block is left early, by Ctrl-C or another error, the work is given up at once."""
    with _answering(list(wanted), [each.spec.name for each in wanted]) as answer:
        yield lambda: [
            Resolved(
                description=ModelDescription.model_validate(each["description"]),
                canaries=Canaries.model_validate(each["canaries"]) if each["canaries"] else None,
            )
            for each in answer()["models"]
        ]


@contextmanager
def resolving_detector(wanted: WantedDetector) -> Iterator[Callable[[], DetectorDescription]]:
    """Like `resolving_models`, for a detector: finds or downloads the weights, hashes them, asks the library for the
    classes."""
    with _answering(wanted, [wanted.spec.name]) as answer:
        yield lambda: DetectorDescription.model_validate(answer()["detector"])


@contextmanager
def _answering(asked: list[WantedModel] | WantedDetector, names: list[str]) -> Iterator[Callable[[], dict[str, Any]]]:
    child = subprocess.Popen(
        # -P: a folder `operators` where the user stands must not be taken for ours.
        [sys.executable, "-P", "-m", "operators.models.resolve_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Ctrl-C is for the parent alone, which ends the child by itself.
        start_new_session=True,
    )
    # The pool is left last: its thread ends with the child.
    with child, ThreadPoolExecutor(1) as pool:
        try:
            # A pickle, and not JSON: a dump of the storage options masks their secrets.
            heard = pool.submit(child.communicate, pickle.dumps(asked))
            yield lambda: _answer(names, child, *heard.result())
        finally:
            child.kill()


def _answer(names: list[str], child: "subprocess.Popen[bytes]", out: bytes, err: bytes) -> dict[str, Any]:
    said = err.decode(errors="replace")
    _pass_on(said)
    lines = out.decode().strip().splitlines()
    if child.returncode or not lines:
        reason = redact(said.strip())[-2000:]
        raise ModelError(f"model {', '.join(map(repr, names))}: could not be resolved:\n{reason}")
    answer: dict[str, Any] = json.loads(lines[-1])
    if "error" in answer:
        raise ModelError(answer["error"])
    return answer


def _pass_on(said: str) -> None:
    """Write our own lines to stderr; the libraries' progress and warnings are dropped."""
    for line in said.splitlines():
        if line.startswith("pixlake: "):
            print(line, file=sys.stderr)
