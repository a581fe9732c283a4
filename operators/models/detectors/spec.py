"""Which object detector a user names, and what is known of it once it is resolved. Torch-free: the driver plans with
it."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from operators.models.families import DETECTORS
from operators.models.spec import ModelError, ModelSpec, absolute, random_seed, secret_in_name
from operators.storage.redact import redact_uri


class DetectorDescription(BaseModel):
    """What a resolved detector is: enough to plan a run and to record the space."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: ModelSpec
    network: Any
    """The network that is built, the same whatever name was used to ask for it: part of the space."""
    weights_sha256: str
    weights_uri: str | None = None
    """URI under which every node finds the very same file; None for random weights."""
    architecture_config: dict[str, Any] = {}
    """The library's configuration of network and preprocessing, beside the name."""
    classes: tuple[str, ...]
    """The name of each class, by number; empty where it has none."""
    num_parameters: int


def parse_detector_name(name: str, sha256: str | None = None) -> ModelSpec:
    """`torchvision:NAME/TAG`, `torchvision:NAME@PATH`, `transformers:OWNER/NAME`, `transformers:/FOLDER`.

    `torchvision:NAME/random-SEED` gives fixed-seed random weights (benchmarks and tests only). Raises `ModelError` for
    a name of no known form.
    """
    family, _, rest = name.partition(":")
    if family not in DETECTORS or not rest:
        raise ModelError(
            f"detector {name!r}: no such model. Use torchvision:NAME/TAG, as in "
            "torchvision:fasterrcnn_resnet50_fpn_v2/COCO_V1, torchvision:NAME@PATH for a weights file, "
            "transformers:OWNER/NAME of the hub, or transformers:/FOLDER"
        )
    if family == "transformers":
        architecture = f"local-dir:{absolute(rest)}" if rest.startswith(("/", ".", "~")) else f"hf-hub:{rest}"
        return ModelSpec(name=name, family=family, architecture=architecture, sha256=sha256)
    body, _, weights = rest.partition("@")
    if redact_uri(weights) != weights:
        raise secret_in_name(f"{family}:{body}", weights)
    architecture, _, tag = body.partition("/")
    seed = random_seed(name, tag or None)
    if bool(tag) == bool(weights):
        raise ModelError(f"detector {name!r}: say which weights, as in {family}:{architecture}/COCO_V1 or …@PATH")
    return ModelSpec(
        name=name,
        family=family,
        architecture=architecture,
        pretrained=tag if tag and seed is None else None,
        weights=absolute(weights) if weights else None,
        sha256=sha256,
        seed=seed,
    )


def class_numbers(description: DetectorDescription, wanted: Sequence[str | int]) -> frozenset[int] | None:
    """The numbers of classes given by name or number; None for all. Raises `ModelError` naming the known ones."""
    if not wanted:
        return None
    names = {label: number for number, label in enumerate(description.classes) if label}
    numbers: dict[str | int, int] = {number: number for number in range(len(description.classes))}
    numbers.update(names)
    unknown = [each for each in wanted if each not in numbers]
    if unknown:
        raise ModelError(
            f"detector {description.spec.name!r}: has no class {unknown[0]!r}; it knows "
            f"{', '.join(names) or 'no names'}, and numbers up to {len(description.classes) - 1}"
        )
    return frozenset(numbers[each] for each in wanted)


def label_of(description: DetectorDescription, number: int) -> str:
    """The class's name, or its number where it has none."""
    names = description.classes
    return (names[number] if number < len(names) else "") or str(number)
