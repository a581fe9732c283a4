"""What `pixlake distil` can be told: of its source and one model what an embed job can, and how it is taught."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from jobs.config.embed import EmbedConfig
from jobs.config.keep_columns import keep_named
from jobs.config.model_names import ModelConfig, from_preset
from jobs.config.read import ClusterReadConfig
from jobs.steps.lengths import as_lengths
from jobs.steps.new_model import NewModelFolder
from jobs.steps.run import StepsOptions
from operators.base.errors import UserError
from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from operators.models.spec import ModelSpec, parse_model_name
from pipelines.manifests.manifest import SourceConfig


def split_teacher(given: str) -> tuple[str, str | None]:
    """TABLE and COLUMN of `TABLE:COLUMN`, or of `TABLE` alone."""
    table, colon, column = given.rpartition(":")
    return (table, column) if colon and column and "/" not in column else (given, None)


class DistilConfig(ClusterReadConfig, StepsOptions):
    """A student, its teacher, and how it is taught. The file of an embed job serves as it is: `table` is the teacher's,
    `model` the student. `docs/distil.md` explains every field."""

    source: SourceConfig
    model: ModelConfig
    """The student."""
    fetch: FetchOptions = FetchOptions()
    decode: DecodeOptions = DecodeOptions()
    out: NewModelFolder
    """Folder of the new model, path or URI: `./lake/models/NAME`."""
    column: str | None = None
    """The teacher's column; default: the only one that a model fills."""
    from_scratch: bool = False
    """Begin with random weights, drawn by the seed."""
    space: Literal["own", "teacher"] = "own"
    """`teacher`: queries of the teacher are to find rows of the student, which is measured."""
    dims: Annotated[tuple[int, ...] | None, BeforeValidator(as_lengths)] = None
    """Lengths that vectors are to be good at, the longest of which they have; None: the teacher's length alone."""
    cosine: float = Field(default=1.0, ge=0)
    """Weight of the loss by cosine."""
    relational: float = Field(default=1.0, ge=0)
    """Weight of the loss by neighbours."""
    hard_examples: float = Field(default=0.0, ge=0)
    """Exponent of an image's error by which it weighs in the loss by cosine; 0: all weigh the same."""
    crops: int = Field(default=1, ge=1)
    """Changed looks of each image in a step."""
    least_area: float = Field(default=0.5, gt=0, le=1)
    """Of an image, that a crop shows at least."""
    label: str | None = None
    """A column of the source, to measure by."""
    group: str | None = None
    """A column of the source: images of one value stay on one side of the split."""
    sample: int = Field(default=50_000, ge=20)
    """Images of the source to take, at most."""
    test: float = Field(default=0.2, gt=0, lt=0.9)
    """Share of the images that have no part in the training, and that the report is of."""
    batch: int = Field(default=128, ge=8)
    """Images of a step."""
    micro_batch: int = Field(default=64, ge=8)
    """Looks that batch norm takes its statistics of."""
    steps: int = Field(default=2000, ge=1)
    look_every: int = Field(default=25, ge=1)
    """Steps from one look at held-out images, and one checkpoint, to the next."""
    patience: int = Field(default=20, ge=1)
    """Looks without a lower loss on held-out images before training ends."""
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    work: str | None = None
    """A local folder for decoded images and the checkpoint; default: beside the model, taken away at the end."""
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _keep_columns(cls, values: Any) -> Any:
        """A model named as in `conf/models/` takes that file's values."""
        if not isinstance(values, dict):
            return values
        values = {**values, "model": from_preset(values.get("model"))}
        return keep_named(values, ("label", "group"))

    @model_validator(mode="after")
    def _can_be_taught(self) -> "DistilConfig":
        if not self.cosine and not self.relational:
            raise ValueError("--cosine 0 and --relational 0: nothing would be taught; give one of them a weight")
        if self.space == "teacher":
            if self.dims is not None:
                raise ValueError("--space teacher: vectors have the teacher's length; leave --dims out")
            if not self.cosine:
                raise ValueError("--space teacher is learnt by cosine: give --cosine a weight")
        return self

    def kept(self, column: str) -> str:
        """The name that a column of the source has in its rows."""
        return self.source.rename.get(column, column)

    @property
    def images(self) -> EmbedConfig:
        """The embed job whose images are taught."""
        return EmbedConfig(
            source=self.source,
            table=self.table,
            storage=self.storage,
            fetch=self.fetch,
            decode=self.decode,
            cluster=self.cluster,
        )

    @property
    def student(self) -> ModelSpec:
        """The network that is taught. Raises `UserError` for one that cannot begin from scratch."""
        spec = self.model.spec()
        if not self.from_scratch or spec.seed is not None:
            return spec
        if spec.family not in ("timm", "open_clip") or spec.weights or ":" in spec.architecture:
            raise UserError(
                f"--from-scratch --student {self.model.name}: a network is built anew from its name; name one of timm "
                "or open_clip, as in timm:mobilenetv3_small_050 (efficientnet-lite0 is timm:tf_efficientnet_lite0)"
            )
        bare = spec.architecture.split(".")[0] if spec.family == "timm" else spec.architecture
        named = parse_model_name(f"{spec.family}:{bare}/random-{self.seed}")
        return spec.model_copy(
            update={
                name: getattr(named, name)
                for name in ("name", "architecture", "pretrained", "weights", "sha256", "seed")
            }
        )
