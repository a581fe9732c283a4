"""Which model a user names, and what is known of it once it is resolved. Torch-free: the driver plans with it."""

import os
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from operators.base.errors import UserError
from operators.models.families import FAMILIES
from operators.pixels.preprocess import Preprocess, PreprocessOverrides
from operators.storage.redact import redact_uri
from operators.storage.uris import StorageError, split_uri

Precision = Literal["float32", "bfloat16", "float16"]
Backend = Literal["auto", "torch", "openvino"]
"""What runs a model's network. `auto`: OpenVINO on CPUs where it is installed and the model is one that it runs well,
else torch."""
BatchSize = int | Literal["auto"]
Pooling = Literal["default", "cls", "avg", "cls_avg", "gem", "attn"]

HUB_SCHEME = "hf://"


class ModelError(UserError):
    """The model cannot be named, found, checked or loaded as asked; the message says what to do."""


class ModelOptions(BaseModel):
    """What a user may choose about a model beside its weights. Each choice is part of the space."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pooling: Pooling = "default"
    """How an image's tokens, or cells of its feature map, become one vector.

    `default`: what the model itself does. `cls`: the class token. `avg`: the mean of the patch tokens or cells, class
    and register tokens left out. `cls_avg`: both, one behind the other, twice as long. `gem`: the generalised mean of
    the patches (Radenovic et al. 2018, "Fine-tuning CNN Image Retrieval with No Human Annotation"). `attn`: the
    model's own attention pool.
    """
    gem_power: float = Field(default=3.0, gt=0, allow_inf_nan=False)
    """Exponent of pooling `gem`."""
    layer: int | None = None
    """Take the tokens after this block or stage, from 0, negative from the end; None: the whole network."""
    final_norm: bool = True
    """For `layer`: whether the model's final norm is applied to the tokens before they are pooled."""
    preprocess: PreprocessOverrides = PreprocessOverrides()


class ModelSpec(ModelOptions):
    """A model as a user names it. `weights` is a path or URI, `seed` stands for fixed-seed random weights; never both
    are set."""

    name: str
    family: str
    """A key of `families.FAMILIES`."""
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
    network: Any
    """The network that is built, the same whatever name was used to ask for it: part of the space.

    The name would not do: a folder and a hub repository have names of their own, and the same weights fit networks that
    differ in more than shapes, such as in the number of attention heads.
    """
    weights_sha256: str
    weights_uri: str | None = None
    """URI under which every node finds the very same file, a hub's revision included; None for random and packaged
    weights."""
    architecture_config: dict[str, Any] | None = None
    """The library's configuration of a network that is not in its code: open_clip's `model_cfg`."""
    text: bool
    """Whether words can be embedded in the space of these vectors, so that tables can be searched by words."""
    quick_gelu: bool = False
    """Whether open_clip runs the weights with QuickGELU: the same weights under GELU give other vectors."""
    num_parameters: int
    """Parameters of the image tower."""
    notes: tuple[str, ...] = ()
    """What the library itself remarks on these weights, and what follows from it."""


def parse_model_name(name: str, sha256: str | None = None) -> ModelSpec:
    """`null`, `efficientnet-lite0`, `vertex:MODEL@VERSION/DIM`, `timm:NAME`, `open_clip:ARCH/PRETRAINED`.

    The path or URI of a folder is a saved model. Names of other families have the last form too. `@PATH` or `@URI`
    after an architecture names a weights file.
    `/random-SEED` in place of a pretrained tag gives fixed-seed random weights (benchmarks and tests only). Raises
    `ModelError` for a name of no known form.
    """
    if name.startswith("vertex:"):
        model, _, dim = name.removeprefix("vertex:").partition("/")
        return ModelSpec(name=name, family="vertex", architecture=model, pretrained=dim or None)
    if is_folder(name):
        return _saved(name, sha256)
    # A folder may have an `@` in its path, and brings its weights.
    body, _, weights = (name, "", "") if ":local-dir:" in name else name.partition("@")
    if redact_uri(weights) != weights:
        raise secret_in_name(body, weights)
    family, _, rest = body.partition(":")
    if body == "null" and not weights:
        return ModelSpec(name=name, family="null", architecture="null")
    if body == "efficientnet-lite0" and not weights:
        return ModelSpec(name=name, family="efficientnet-lite", architecture="tf_efficientnet_lite0", sha256=sha256)
    if family not in FAMILIES or family in ("null", "efficientnet-lite", "saved") or not rest:
        raise ModelError(
            f"model {name!r}: no such model. Use efficientnet-lite0, a name that `pixlake models` lists, "
            "open_clip:ARCHITECTURE/PRETRAINED or timm:NAME, with @PATH or @URI for a weights file, or ./FOLDER of a "
            "model of your own"
        )
    architecture, pretrained = rest, None
    if rest.startswith("local-dir:"):
        architecture = "local-dir:" + absolute(rest.removeprefix("local-dir:"))
    elif not rest.startswith("hf-hub:"):
        architecture, _, tag = rest.partition("/")
        pretrained = tag or None
    seed = random_seed(name, pretrained)
    if sum(x is not None and x != "" for x in (pretrained, weights)) > 1:
        raise ModelError(f"model {name!r}: names both pretrained weights ({pretrained}) and a weights file ({weights})")
    if family == "open_clip" and not (pretrained or weights or rest.startswith(("hf-hub:", "local-dir:"))):
        raise ModelError(f"model {name!r}: say which weights: open_clip:{architecture}/PRETRAINED or …@PATH")
    if family == "open_clip" and weights and rest.startswith(("hf-hub:", "local-dir:")):
        raise ModelError(f"model {name!r}: brings its own weights; name the file's architecture instead")
    if family == "timm" and pretrained and seed is None:
        raise ModelError(f"model {name!r}: timm writes a tag with a dot: timm:{architecture}.{pretrained}")
    return ModelSpec(
        name=name,
        family=family,
        architecture=architecture,
        pretrained=None if seed is not None else pretrained,
        weights=absolute(weights) if weights else None,
        sha256=sha256,
        seed=seed,
    )


def is_folder(name: str) -> bool:
    """Whether a name is the path or URI of a saved model: the folder that `pixlake tune` or `pixlake distil` wrote."""
    family, colon, _ = name.partition(":")
    if colon:
        return family not in FAMILIES and ("://" in name or name.startswith(("file:", "/", "./", "../", "~")))
    return "/" in name or name.startswith("~")


def from_any_folder(name: str) -> str:
    """A model's name for whoever stands in another folder: a saved model's path is made absolute."""
    return absolute(name).rstrip("/") if is_folder(name) and "://" not in name else name


def _saved(name: str, sha256: str | None) -> ModelSpec:
    if redact_uri(name) != name:
        raise ModelError(
            f"model {redact_uri(name)!r}: leave credentials and signatures out of its address; they belong in "
            "storage.key and storage.secret, or in the environment"
        )
    return ModelSpec(name=name, family="saved", architecture=absolute(name).rstrip("/"), sha256=sha256)


def secret_in_name(body: str, weights: str) -> ModelError:
    """The error for a secret in a model's name, which is stored with the table and shown in errors."""
    return ModelError(
        f"model '{body}@{redact_uri(weights)}': leave credentials and signatures out of a weights URI; they belong "
        "in storage.key and storage.secret, or in the environment"
    )


def absolute(weights: str) -> str:
    """A path made absolute, since workers, and later queries, run in other folders; any other URI as it is."""
    if "://" in weights and not weights.startswith("file:"):
        return weights
    try:
        return os.path.abspath(os.path.expanduser(split_uri(weights)[2]))
    except StorageError as error:
        raise ModelError(f"weights {weights}: {error}") from error


def random_seed(name: str, pretrained: str | None) -> int | None:
    """The seed of `random-SEED` in place of a tag; None for any other tag."""
    if pretrained is None or not pretrained.startswith("random"):
        return None
    _, _, digits = pretrained.partition("-")
    if not digits.isdecimal():
        raise ModelError(f"model {name!r}: random weights need a seed, as in /random-0")
    return int(digits)
