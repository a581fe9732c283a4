"""An embedder on OpenVINO: of the network that this node has converted before, or converts now."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operators.models.backends.cache import Refused, entry_folder, find, one_at_a_time, store
from operators.models.backends.openvino import OpenVinoEmbedder
from operators.models.spec import ModelDescription, ModelError, Precision

if TYPE_CHECKING:
    from operators.models.towers.embedder import TorchEmbedder


def load_converted(
    description: ModelDescription,
    precision: Precision,
    make: "Callable[[], TorchEmbedder]",
    *,
    required: bool,
    **how: Any,
) -> OpenVinoEmbedder | None:
    """The model on OpenVINO in `precision`; None where its vectors would be others, unless it is `required`.

    `make` gives the embedder to convert, in float32 on the CPU: it is called where this node has not converted it yet.
    `how` are settings of `OpenVinoEmbedder`. Raises `ModelError` where it is required and cannot be had.
    """
    folder = entry_folder(description, precision)
    try:
        # Without the lock first: a folder that cannot be written to has none, and the others need not wait.
        network = find(folder) or _found_or_made(folder, description, precision, make)
    except Refused as refused:
        if required:
            raise ModelError(
                f"model {description.spec.name!r}: cannot run on OpenVINO: {refused}; leave model.backend out"
            ) from refused
        return None
    return OpenVinoEmbedder(network, precision=precision, **how)


def _found_or_made(
    folder: Path, description: ModelDescription, precision: Precision, make: "Callable[[], TorchEmbedder]"
) -> Any:
    """The network, its path where it could be kept. Raises `Refused`."""
    with one_at_a_time(folder):
        return find(folder) or _made(folder, description, precision, make)


def _made(
    folder: Path, description: ModelDescription, precision: Precision, make: "Callable[[], TorchEmbedder]"
) -> Any:
    # Here and not at the top: it imports torch.
    from operators.models.backends.convert import NotConverted, convert

    try:
        network = convert(make(), description.preprocess, precision)
    except NotConverted as error:
        reason = str(error)
        _keep(folder, None, reason)
        print(f"pixlake: model {description.spec.name!r} runs on torch, and not on OpenVINO: {reason}", file=sys.stderr)
        raise Refused(reason) from error
    _keep(folder, network, None)
    return network


def _keep(folder: Path, network: Any, refused: str | None) -> None:
    try:
        store(folder, network, refused)
    except OSError as error:
        # A folder that cannot be written to: this process has the network, the next makes it anew.
        print(f"pixlake: {folder.parent} does not keep the converted network: {error.strerror}", file=sys.stderr)
