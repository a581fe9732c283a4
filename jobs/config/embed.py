"""What `pixlake embed` can be told, as one model: every key of a configuration file and of `--set`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from jobs.config.load import load_config, on_local_cluster
from jobs.config.model_names import ModelConfig, check_column_name, check_model_name, from_preset
from operators.api.options import NO_API_OPTIONS, ApiOptions
from operators.base.columns import VECTOR
from operators.base.errors import ErrorClass
from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from operators.models.spec import Precision
from operators.normalize import NormalizeOptions
from operators.regions.options import PatchesOptions, RegionOptions
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.manifests.manifest import SourceConfig
from pipelines.run.cluster import ClusterConfig
from pipelines.space.reduce_options import ReduceOptions


class EmbedConfig(BaseModel):
    """One embed job. Only `source` and `table` must be given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: SourceConfig
    table: str
    """`DB/NAME`: `./lake/photos`, `s3://bucket/lake/photos`."""
    model: ModelConfig | None = None
    """One model, whose vectors go to the column `vector`. Default: efficientnet-lite0, unless there are `models`."""
    models: dict[Annotated[str, AfterValidator(check_model_name)], ModelConfig] = {}
    """Name -> model, in place of `model`: the vectors of each go to a column of their own, `vector_<name>`."""
    reduce: dict[Annotated[str, AfterValidator(check_column_name)], ReduceOptions] = {}
    """Column -> how it is made of a model's column. Those that the table has already are filled without being named."""
    store_base: bool = True
    """False: a column that others are made of is not stored itself."""
    storage: StorageOptions = NO_OPTIONS
    """Storage settings for the manifest, the images and weights, and for the table unless `table_storage` is given."""
    table_storage: StorageOptions | None = None
    fetch: FetchOptions = FetchOptions()
    decode: DecodeOptions = DecodeOptions()
    regions: RegionOptions | None = None
    """Which parts of an image get vectors of their own; None: an image has one vector a column."""
    normalize: NormalizeOptions = NormalizeOptions()
    reuse: bool = True
    """Give an image whose bytes the same worker has embedded in this run already the same vectors. Not with a model
    that is asked over the network. False embeds every row for itself."""
    api: ApiOptions = NO_API_OPTIONS
    """Settings for models that are asked over the network."""
    cluster: ClusterConfig
    """Default: `conf/clusters/local.yaml`."""
    skip_existing: bool = False
    again: bool = False
    """Embed a manifest although the table has most of its ids through other manifests."""
    retry_failed: ErrorClass | Literal["all"] | None = None
    max_failed: float = Field(default=0.5, ge=0, le=1)
    """Share of the rows that may fail before a complete run counts as none: its exit code is 4 then, and its last lines
    say why most of them failed."""
    max_bad_vectors: float = Field(default=0.001, ge=0, le=1)
    """Share of a run's vectors that may be NaN, infinite or zero before it is stopped: with 20 of them or more."""
    overwrite: int = Field(default=0, ge=0, le=2)
    """1 deletes a table of Pixlake's first, 2 any table."""
    deleted: Literal["keep-out", "restore"] | None = None
    """What becomes of rows that were in the table and were deleted since: `keep-out` records them, so that they stay
    out of every later manifest too, `restore` embeds them again. None leaves them out, and says so at each run."""
    abandon: str | None = None
    """A run id whose unfinished manifest is given up."""
    verbose: bool = False

    @model_validator(mode="before")
    @classmethod
    def _fill_from_conf(cls, values: Any) -> Any:
        """A cluster without stages builds on the local one; a model named as in `conf/models/` takes that file's
        values."""
        if not isinstance(values, Mapping):
            return values
        filled = dict(on_local_cluster(values))
        models = filled.get("models")
        if filled.get("model") is None and not models:
            filled["model"] = {}
        filled["model"] = from_preset(filled.get("model"))
        if isinstance(models, Mapping):
            nameless = [name for name, model in models.items() if isinstance(model, Mapping) and "name" not in model]
            if nameless:
                named = ", ".join(name for name in models if name not in nameless) or "none"
                raise ValueError(f"models.{nameless[0]} names no model (models.{nameless[0]}.name); named are: {named}")
            filled["models"] = {name: from_preset(model) for name, model in models.items()}
        return filled

    @model_validator(mode="after")
    def _one_or_several(self) -> "EmbedConfig":
        if self.model is not None and self.models:
            raise ValueError(
                f"model and models are both given (models: {', '.join(self.models)}); a setting of one of several is "
                "models.NAME.KEY"
            )
        for name in self.reduce:
            if name in self.columns:
                raise ValueError(f"reduce.{name}: a model fills this column; name the derived one otherwise")
        if not self.store_base and not self.reduce:
            raise ValueError("store_base is false, and reduce names no column: there would be no vectors")
        return self

    @model_validator(mode="after")
    def _regions_are_kept(self) -> "EmbedConfig":
        wanted = self.regions.manifest_columns if self.regions is not None else ()
        there = [self.source.rename.get(name, name) for name in self.source.keep]
        missing = [name for name in wanted if name not in there]
        if missing:
            keep = ",".join((*self.source.keep, *missing))
            raise ValueError(
                f"regions reads the manifest column {', '.join(missing)}, which source.keep does not name; set "
                f"source.keep=[{keep}]"
            )
        return self

    @model_validator(mode="after")
    def _regions_are_of_whole_images(self) -> "EmbedConfig":
        if self.decode.shrink_on_load and self.regions is not None and not isinstance(self.regions, PatchesOptions):
            raise ValueError(
                f"decode.shrink_on_load: regions ({self.regions.kind}) are cut out of images in their full size; leave "
                "one of the two out"
            )
        return self

    @property
    def columns(self) -> dict[str, ModelConfig]:
        """Vector column -> the model that fills it, in the order in which they were given."""
        if self.model is not None:
            return {VECTOR: self.model}
        return {f"{VECTOR}_{name}": model for name, model in self.models.items()}

    def precision_of(self, model: ModelConfig) -> Precision | Literal["fastest"]:
        """The precision, or `fastest` where this machine is to find it by trial: it knows nothing of others."""
        here = self.cluster.device == "cpu" and self.cluster.address is None
        if model.precision == "auto" or (model.precision == "fastest" and not here):
            return "bfloat16" if self.cluster.device == "cuda" else "float32"
        return model.precision

    @property
    def warning(self) -> str | None:
        """What of these settings cannot work as it is meant; None where nothing is known of."""
        patience, stall = self.fetch.retry_s + self.fetch.object_s, self.cluster.no_progress_timeout_s
        if patience < stall:
            return None
        return (
            f"a host that is away is waited for up to {patience:g} s (fetch.retry_s {self.fetch.retry_s:g} + "
            f"fetch.object_s {self.fetch.object_s:g}), but after {stall:g} s without progress the run ends itself "
            "(cluster.no_progress_timeout_s): its rows are never given up, and every run may end at the same host. Set "
            "the last above the sum, or fetch.retry_s lower"
        )

    @property
    def storage_of_table(self) -> StorageOptions:
        return self.table_storage or self.storage


def load(*, files: Sequence[str] = (), sets: Sequence[str] = (), base: Mapping[str, Any]) -> EmbedConfig:
    """The job from configuration files, what the command line names, and `--set` assignments. Raises `ConfigError`.

    Models that the command line names replace all that files name, with every setting that files give those.
    """
    unused = {"model", "models"} if base.keys() & {"model", "models"} else set()
    return load_config(EmbedConfig, files=files, sets=sets, base=base, without=unused)
