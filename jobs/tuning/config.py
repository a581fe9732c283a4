"""What `pixlake tune` can be told: all that an embed job can, and how the model is trained."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from jobs.config.embed import EmbedConfig
from jobs.config.keep_columns import keep_named
from jobs.steps.new_model import NewModelFolder
from jobs.steps.run import StepsOptions
from operators.models.tuning.trainable import Trainable, parse_trainable
from pipelines.judging.words import TEMPLATES
from pipelines.steps.recipe import StepRecipe
from pipelines.tuning.rows import TuneObjective
from pipelines.tuning.task import TEMPERATURES


def _checked(text: str) -> str:
    return str(parse_trainable(text))


class TuneConfig(StepsOptions, EmbedConfig):
    """One model tuned on one source. The file of an embed job serves as it is: whole images are trained on, and no
    table is written."""

    table: str = ""
    """Of no use here."""
    out: NewModelFolder
    """Folder of the new model, path or URI: `./lake/models/NAME`."""
    label: str | None = None
    """Manifest column of labels: images of one label are to be near to each other."""
    pairs: str | None = None
    """A Parquet file of `id` and `group`, or of `id_a` and `id_b`: images of one group are to be near to each other."""
    captions: str | None = None
    """Manifest column of texts: an image is to be near to its own."""
    group: str | None = None
    """Manifest column: images with the same value in it stay on one side of the split."""
    trainable: Annotated[str, AfterValidator(_checked)] = "last:1"
    """`head`, `last:N`, `lora:R` or `all`."""
    freeze_text: bool = False
    """With captions: leave the text tower as it is."""
    sample: int = Field(default=20_000, ge=20)
    """Images that are used, at most; they are kept decoded on local disk."""
    test: float = Field(default=0.2, gt=0, lt=0.9)
    """Share of the images that have no part in the training, and that the figures are of."""
    augment: Literal["light", "none"] = "light"
    """How images are changed at each step: crops, flips and light changes of colour, or not at all."""
    batch: int = Field(default=64, ge=4)
    """Images of a step, at most."""
    steps: int = Field(default=300, ge=1)
    """At most."""
    look_every: int = Field(default=25, ge=1)
    """Steps from one look at held-out images, and one checkpoint, to the next."""
    patience: int = Field(default=4, ge=1)
    """Looks without a lower loss on the held-out images before training ends."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Default: by what is trained."""
    warmup: int = Field(default=10, ge=0)
    """Steps over which the rate rises; then it falls as a cosine."""
    weight_decay: float = Field(default=0.01, ge=0)
    temperature: float | None = Field(default=None, gt=0)
    """Default: 0.1, and 0.01 for captions."""
    gradient_checkpointing: bool = False
    """Less memory for more work, where the network offers it."""
    remember: str | None = None
    """Other images, a source as any: how far the model still sees them as its base does."""
    work: str | None = None
    """A local folder for the decoded images and the checkpoint; it stays, for the next recipe. Default: one beside the
    new model, which is removed with the end."""
    templates: tuple[str, ...] = Field(default=TEMPLATES, min_length=1)
    """Sentences around a class name, which stands for {}."""
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _keep_what_is_read(cls, values: Any) -> Any:
        return keep_named(values, ("label", "captions", "group"))

    @model_validator(mode="after")
    def _has_one_objective(self) -> "TuneConfig":
        given = [name for name in ("label", "pairs", "captions") if getattr(self, name) is not None]
        if len(given) != 1:
            said = f"{' and '.join(f'--{name}' for name in given)} are" if given else "none of them is"
            raise ValueError(f"one of --label, --pairs and --captions says what is to be near to what; {said} given")
        if self.freeze_text and self.captions is None:
            raise ValueError("--freeze-text is for --captions: without them the text tower is never trained")
        if self.regions is not None or self.reduce or self.models:
            raise ValueError("whole images train one model: leave regions, reduce and models out")
        return self

    @property
    def objective(self) -> TuneObjective:
        return "labels" if self.label is not None else "pairs" if self.pairs is not None else "captions"

    @property
    def trained(self) -> Trainable:
        return parse_trainable(self.trainable)

    def kept(self, column: str | None) -> str | None:
        """The name that a column of the source has in its rows."""
        return None if column is None else self.source.rename.get(column, column)

    def recipe(self) -> StepRecipe:
        return StepRecipe(
            steps=self.steps,
            learning_rate=self.learning_rate or self.trained.learning_rate,
            weight_decay=self.weight_decay,
            seed=self.seed,
            schedule="cosine",
            warmup=self.warmup,
            clip=1.0,
            decays_vectors=False,
            look_every=self.look_every,
            patience=self.patience,
        )

    @property
    def loss_temperature(self) -> float:
        return self.temperature or TEMPERATURES[self.objective]
