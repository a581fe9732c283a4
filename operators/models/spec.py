"""Which model a user names, and what is known of it once resolved. Torch-free: the driver plans with these."""

import json
import os
import subprocess
import sys
from typing import Literal

from pydantic import BaseModel, ConfigDict

from operators.errors import UserError
from operators.preprocess import Preprocess

Family = Literal["null", "efficientnet-lite", "open_clip", "timm"]
Precision = Literal["float32", "bfloat16", "float16"]


class ModelError(UserError):
    """The model cannot be named, found, checked or loaded as asked; the message says what to do."""


class ModelSpec(BaseModel):
    """A model as a user names it. `weights` is a local file, `seed` fixed-seed random weights; never both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    family: Family
    architecture: str
    pretrained: str | None = None
    weights: str | None = None
    sha256: str | None = None
    """The expected sha256 of the weights file, hex. Required before any pickle is opened."""
    seed: int | None = None


class ModelDescription(BaseModel):
    """What a resolved model is: enough to plan a run and to record the space."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: ModelSpec
    dim: int
    preprocess: Preprocess
    weights_sha256: str
    text: bool
    """Whether the model has a text tower, so that tables can be searched by words."""
    quick_gelu: bool = False
    """Whether open_clip runs the weights with QuickGELU: the same weights under GELU give other vectors."""
    num_parameters: int
    """Parameters of the image tower."""


def parse_model_name(name: str, sha256: str | None = None) -> ModelSpec:
    """`null`, `efficientnet-lite0`, `open_clip:ARCH/PRETRAINED`, `timm:NAME`; `@PATH` for local weights.

    `/random-SEED` in place of a pretrained tag gives fixed-seed random weights (benchmarks and tests only).
    Raises `ModelError` for a name of no known form.
    """
    body, _, weights = name.partition("@")
    family, _, rest = body.partition(":")
    if body == "null" and not weights:
        return ModelSpec(name=name, family="null", architecture="null")
    if body == "efficientnet-lite0" and not weights:
        return ModelSpec(name=name, family="efficientnet-lite", architecture="tf_efficientnet_lite0", sha256=sha256)
    if family not in ("open_clip", "timm") or not rest:
        raise ModelError(
            f"model {name!r}: no such model. Use efficientnet-lite0, a name that `pixlake models` lists, "
            "open_clip:ARCHITECTURE/PRETRAINED or timm:NAME, with @PATH for a local weights file"
        )
    architecture, pretrained = rest, None
    if not rest.startswith("hf-hub:"):
        architecture, _, tag = rest.partition("/")
        pretrained = tag or None
    seed = _random_seed(name, pretrained)
    if sum(x is not None and x != "" for x in (pretrained, weights)) > 1:
        raise ModelError(f"model {name!r}: names both pretrained weights ({pretrained}) and a weights file ({weights})")
    if family == "open_clip" and not (pretrained or weights or rest.startswith("hf-hub:")):
        raise ModelError(f"model {name!r}: say which weights: open_clip:{architecture}/PRETRAINED or …@PATH")
    if family == "open_clip" and weights and rest.startswith("hf-hub:"):
        raise ModelError(f"model {name!r}: a hub model brings its own weights; name the file's architecture instead")
    if family == "timm" and pretrained and seed is None:
        raise ModelError(f"model {name!r}: timm writes a tag with a dot: timm:{architecture}.{pretrained}")
    return ModelSpec(
        name=name,
        family="open_clip" if family == "open_clip" else "timm",
        architecture=architecture,
        pretrained=None if seed is not None else pretrained,
        # Absolute: workers, and later queries, stand in other folders.
        weights=os.path.abspath(os.path.expanduser(weights)) if weights else None,
        sha256=sha256,
        seed=seed,
    )


def _random_seed(name: str, pretrained: str | None) -> int | None:
    if pretrained is None or not pretrained.startswith("random"):
        return None
    _, _, digits = pretrained.partition("-")
    if not digits.isdecimal():
        raise ModelError(f"model {name!r}: random weights need a seed, as in /random-0")
    return int(digits)


def describe_model(spec: ModelSpec) -> ModelDescription:
    """Resolve a model in a process of its own: downloads or hashes the weights, imports torch there and not here.

    Raises `ModelError` with the reason when the model cannot be resolved.
    """
    done = subprocess.run(
        # -P: a folder `operators` where the user stands must not be taken for ours.
        [sys.executable, "-P", "-m", "operators.models.describe"],
        input=spec.model_dump_json(),
        capture_output=True,
        text=True,
        check=False,
        # Ctrl-C is for the parent alone, which ends the child by itself.
        start_new_session=True,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise ModelError(f"model {spec.name!r}: could not be resolved:\n{done.stderr.strip()[-2000:]}")
    answer = json.loads(lines[-1])
    if "error" in answer:
        raise ModelError(answer["error"])
    return ModelDescription.model_validate(answer)
