"""What `pixlake embed` can be told, as one model: every key of a configuration file and of `--set`."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from jobs.config import CONF_DIR, load_config, merge, read_yaml
from operators.decode import DecodeOptions
from operators.failures import ErrorClass
from operators.fetch import FetchConfig
from operators.models.spec import ModelOptions, ModelSpec, Precision, parse_model_name
from operators.normalize import NormalizeConfig
from operators.storage import NO_OPTIONS, StorageOptions
from pipelines.cluster import ClusterConfig
from pipelines.manifest import SourceConfig


class ModelConfig(ModelOptions):
    """Which model, used how, at which precision."""

    name: str = "efficientnet-lite0"
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{64}$")
    """Expected sha256 of the weights file; required for a pickle."""
    precision: Precision | Literal["auto"] = "auto"
    """`auto`: bfloat16 where the cluster file says cuda, float32 on CPUs."""

    def spec(self) -> ModelSpec:
        """Raises `ModelError` for a name of no known form."""
        named = parse_model_name(self.name, self.sha256)
        return named.model_copy(update={name: getattr(self, name) for name in ModelOptions.model_fields})


class EmbedConfig(BaseModel):
    """One embed job. Only `source` and `table` must be given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: SourceConfig
    table: str
    """`DB/NAME`: `./lake/photos`, `s3://bucket/lake/photos`."""
    model: ModelConfig = ModelConfig()
    storage: StorageOptions = NO_OPTIONS
    """For the manifest and the images, and for the table unless `table_storage` is given."""
    table_storage: StorageOptions | None = None
    fetch: FetchConfig = FetchConfig()
    decode: DecodeOptions = DecodeOptions()
    normalize: NormalizeConfig = NormalizeConfig()
    cluster: ClusterConfig
    """Default: `conf/clusters/local.yaml`."""
    skip_existing: bool = False
    retry_failed: ErrorClass | Literal["all"] | None = None
    overwrite: int = Field(default=0, ge=0, le=2)
    """1 deletes a table of Pixlake's first, 2 any table."""
    abandon: str | None = None
    """A run id whose unfinished manifest is given up."""
    verbose: bool = False

    @model_validator(mode="before")
    @classmethod
    def _fill_from_conf(cls, values: Any) -> Any:
        """A cluster without stages builds on the local one; a model of `conf/models/` takes that file's values."""
        if not isinstance(values, Mapping):
            return values
        filled = dict(values)
        cluster = filled.get("cluster", {})
        if isinstance(cluster, Mapping) and "stages" not in cluster:
            filled["cluster"] = merge(read_yaml("clusters/local")["cluster"], cluster)
        model = filled.get("model", {})
        if isinstance(model, Mapping) and is_conf_model(model.get("name")):
            preset = read_yaml(f"models/{model['name']}")["model"]
            filled["model"] = merge(preset, {k: v for k, v in model.items() if k != "name"})
        return filled

    @property
    def precision(self) -> Precision:
        if self.model.precision != "auto":
            return self.model.precision
        return "bfloat16" if self.cluster.device == "cuda" else "float32"

    @property
    def storage_of_table(self) -> StorageOptions:
        return self.table_storage or self.storage


def is_conf_model(name: object) -> bool:
    return isinstance(name, str) and name in conf_models()


def conf_models() -> list[str]:
    return sorted(path.stem for path in (CONF_DIR / "models").glob("*.yaml"))


def load(*, files: Sequence[str] = (), sets: Sequence[str] = (), base: Mapping[str, Any]) -> EmbedConfig:
    """From configuration files, what the command line names, and `--set` assignments. Raises `ConfigError`."""
    return load_config(EmbedConfig, files=files, sets=sets, base=base)
