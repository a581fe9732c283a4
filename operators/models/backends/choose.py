"""Which backend runs a model: what was asked for, or what is fastest for it, of those that are installed."""

from importlib.util import find_spec

from operators.models.spec import Backend, ModelDescription, ModelError, ModelSpec, Precision

CONVERTIBLE = frozenset({"efficientnet-lite", "timm", "open_clip", "saved"})
"""Families whose networks OpenVINO takes from torch."""
_MOST_PARAMETERS = 150_000_000
"""Larger networks stay with torch unless OpenVINO is asked for. Converting takes a minute there and the room of the
weights once more; on a CPU they are no faster by it, and their start counts little beside their work."""


def backend_of(
    description: ModelDescription, asked: Backend, *, precision: Precision, device: str, compile: bool
) -> Backend:
    """`torch` or `openvino`. Raises `ModelError` where OpenVINO is asked for and cannot be had."""
    why_not = hindrance(description.spec, device=device, compile=compile)
    if asked == "openvino" and why_not:
        raise ModelError(f"model {description.spec.name!r}: cannot run on OpenVINO, {why_not}")
    if asked != "auto":
        return asked
    large = description.num_parameters > _MOST_PARAMETERS
    # In reduced precision the two round differently: OpenVINO only where it is asked for.
    return "torch" if why_not or large or precision != "float32" else "openvino"


def hindrance(spec: ModelSpec, *, device: str, compile: bool) -> str | None:
    """Why OpenVINO cannot run a model so; None where it can."""
    if spec.family not in CONVERTIBLE:
        return "which takes models of timm and open_clip, and efficientnet-lite0; leave model.backend out"
    if device != "cpu":
        return f"which is for CPUs, and cluster.device is {device}; leave model.backend out"
    if compile:
        return "since cluster.compile is torch's; leave one of the two out"
    if find_spec("openvino") is None:
        return "which is not installed here: pip install 'pixlake[openvino]', on every node"
    return None
