"""`model.json` of a model of one's own: what the network is, what its weights are, and where they come from.

A saved model is a folder, local or in a bucket, of two files. `docs/own-models.md` shows them:

    model.json                       a `ModelCard`, this file; written last, so that a folder without it is no model
    model-SHA256[:16].safetensors    all weights in float32: `image.*`, `projection.*`, `text.*`

How one is made (`pixlake tune` and `pixlake distil` do it so):

    description = describe(parse_model_name("timm:vit_tiny_patch16_224.augreg_in21k"))     operators.models
    tower = trainable_tower(description, storage)                                         saved.tower
    tower.projection = Projection(description.dim, 128)          optional, and learnt with the rest
    ...                                                          train; merge what peft has put in
    card = save_model("./lake/models/NAME", tower, SavedAs(base=description, ...))         saved.write

`tower` is an `OwnTower`: `tower(pixels_NCHW)` gives (N, dim), `tower.image` is the base's tower with its own names of
tensors, `tower.text` its text tower where that is asked for. The card names no file but the weights by their sha256,
and no library's pickle is ever opened. Torch-free: the driver plans with it.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, model_validator

from operators.models.spec import ModelDescription, ModelSpec, Pooling
from operators.pixels.preprocess import Preprocess, PreprocessOverrides

CARD = "model.json"
SAVED = "saved"
"""The family of saved models."""

MOST_SIDE, MOST_DIM, MOST_NUMBER = 4_096, 65_536, 1_000_000
"""Pixels of a side of the input; numbers of a vector; and any number in a network's configuration, of which the largest
that is known is a vocabulary of 262,144 tokens."""
_MOST_LAYERS = 1_000
Length = Annotated[int, Field(gt=0, le=MOST_DIM)]
InputSide = Annotated[int, Field(gt=0, le=MOST_SIDE)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
TextTower = Literal["held", "tuned", "absent"]
"""`held`: the base's text tower, as it was; `tuned`: trained along; `absent`: words have no vectors in this space."""

_ARCHITECTURE = re.compile(r"[A-Za-z0-9][\w.+-]*")


def _finite(values: dict[str, float]) -> dict[str, float]:
    bad = [name for name, value in values.items() if value != value or value in (float("inf"), float("-inf"))]
    if bad:
        raise ValueError(f"metric {bad[0]!r} is no finite number")
    return values


def _plain_architecture(name: str) -> str:
    if not _ARCHITECTURE.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an architecture: a folder or an address is not looked at")
    return name


def _of_a_size_that_is(config: dict[str, Any] | None) -> dict[str, Any] | None:
    _check_numbers(config, "")
    return config


def _check_numbers(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for name, each in value.items():
            _check_numbers(each, f"{where}{'.' if where else ''}{name}")
    elif isinstance(value, list):
        for each in value:
            _check_numbers(each, where)
    elif isinstance(value, int | float):
        last = where.rpartition(".")[2]
        most = _MOST_LAYERS if any(word in last for word in ("layers", "depth", "blocks")) else MOST_NUMBER
        if not abs(value) <= most:
            raise ValueError(f"{where} is {value:.4g}, and at most {most:,} is taken")


def _sides_that_are(own: Preprocess) -> Preprocess:
    for name in ("height", "width", "resize_height", "resize_width"):
        if not 0 < getattr(own, name) <= MOST_SIDE:
            raise ValueError(f"{name} is {getattr(own, name):,} pixels, and 1 to {MOST_SIDE:,} are taken")
    return own


Metrics = Annotated[dict[str, float], AfterValidator(_finite)]


class _SavedPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class SavedBase(_SavedPart):
    """The model that the training began with."""

    name: str
    """As it was asked for; a saved model can be the base of another."""
    family: str
    weights_sha256: Sha256


class SavedNetwork(_SavedPart):
    """What is built before the weights are put in: the base's tower, by the base's own library."""

    family: Literal["timm", "open_clip", "efficientnet-lite"]
    architecture: Annotated[str, AfterValidator(_plain_architecture)]
    config: Annotated[dict[str, Any] | None, AfterValidator(_of_a_size_that_is)] = None
    """`ModelDescription.architecture_config` of the base."""
    network: Any
    """`ModelDescription.network` of the base: what the space knows it by."""
    quick_gelu: bool = False
    pooling: Pooling = "default"
    gem_power: float = Field(default=3.0, gt=0, allow_inf_nan=False)
    layer: int | None = None
    final_norm: bool = True
    image_size: InputSide | tuple[InputSide, InputSide] | None = None
    """The input that the network was built for, where it is not the architecture's own."""

    def spec(self, name: str) -> ModelSpec:
        """The network as a specification of its family, which is not asked for any weights; `name` is for errors."""
        return ModelSpec(
            name=name,
            family=self.family,
            architecture=self.architecture,
            seed=0,
            pooling=self.pooling,
            gem_power=self.gem_power,
            layer=self.layer,
            final_norm=self.final_norm,
            preprocess=PreprocessOverrides(image_size=self.image_size),
        )


class SavedProjection(_SavedPart):
    """A linear map behind the tower, of vectors from `inputs` to `outputs` numbers: `weight` (outputs, inputs), and
    where they are there `mean` (inputs), which is taken away first, and `bias` (outputs)."""

    inputs: Length
    outputs: Length
    normalize: bool = False
    """Whether the tower's vectors are brought to unit length before all else, as a table stores them."""
    mean: bool = False
    bias: bool = False


class TeacherSpace(_SavedPart):
    """Another model's space in which the vectors may be searched, and how well that was seen to work."""

    model: str
    table: str
    column: str
    space_digest: Sha256
    recall: float = Field(ge=0, le=1)
    """Recall@k of the teacher's neighbours among the student's vectors, by queries of the teacher, on held-out rows."""
    k: PositiveInt = 10
    queries: PositiveInt


class ModelCard(_SavedPart):
    """All that `model.json` holds."""

    format: Literal[1] = 1
    name: str = Field(min_length=1, max_length=200)
    weights_sha256: Sha256
    weights_bytes: PositiveInt
    base: SavedBase
    network: SavedNetwork
    preprocess: Annotated[Preprocess, AfterValidator(_sides_that_are)]
    """The exact preprocessing of training; it cannot be overridden."""
    projection: SavedProjection | None = None
    dim: Length
    dims: tuple[Length, ...] = ()
    """Lengths that the vectors were trained to be cut to (Matryoshka), the longest first."""
    text: TextTower = "absent"
    teacher: TeacherSpace | None = None
    """None: the vectors are in a space of their own, and compare with no other model's."""
    recipe: dict[str, Any] = {}
    """How it was trained: command and settings."""
    data: dict[str, Any] = {}
    """What it was trained on: source, rows, digest."""
    before: Metrics = {}
    """Metrics of the base on the held-out rows."""
    after: Metrics = {}
    versions: dict[str, str] = {}
    created: str = ""
    """UTC, ISO 8601."""

    @property
    def weights_file(self) -> str:
        return f"model-{self.weights_sha256[:16]}.safetensors"

    @model_validator(mode="after")
    def _check_lengths(self) -> "ModelCard":
        if self.projection is not None and self.projection.outputs != self.dim:
            raise ValueError(f"dim is {self.dim}, and the projection gives {self.projection.outputs}")
        if any(each > self.dim for each in self.dims):
            raise ValueError(f"dims {self.dims} are longer than the vectors, {self.dim}")
        if self.text != "absent" and self.network.family != "open_clip":
            raise ValueError(f"a model of {self.network.family} has no text tower, and text is {self.text!r}")
        return self

    def same_model(self, other: "ModelCard") -> bool:
        """Whether both are of one training: all but what was measured, and where and when."""
        measured = {"before", "after", "versions", "created"}
        return self.model_dump(mode="json", exclude=measured) == other.model_dump(mode="json", exclude=measured)

    def in_words(self) -> str:
        """What it was made from, by which recipe, and what came of it, in one line for a person."""
        figures = [
            f"{name} {self.before[name]:.4g} -> {value:.4g}" if name in self.before else f"{name} {value:.4g}"
            for name, value in self.after.items()
        ]
        recipe = [f"{name} {value}" for name, value in self.recipe.items() if isinstance(value, str | int | float)]
        said = [f"trained from {self.base.name}", *recipe, *figures]
        if self.dims:
            said.append(f"can be cut to {', '.join(map(str, self.dims))}")
        if self.teacher is not None:
            of = self.teacher
            said.append(f"queries by {of.model}, its teacher, find {of.recall:.1%} of their {of.k} nearest here")
        return "; ".join(said)


def card_of(description: ModelDescription) -> ModelCard:
    """The card that a description of this family was made from."""
    return ModelCard.model_validate(description.architecture_config)


def card_if_saved(description: ModelDescription) -> ModelCard | None:
    """The same; None for models of all other families."""
    return card_of(description) if description.spec.family == SAVED else None
