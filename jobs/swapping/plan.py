"""A swap, or a column to add, before anything is changed: which column, which model, and the job that embeds for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import Field, field_validator

from jobs.config.embed import EmbedConfig
from jobs.config.model_names import ModelConfig, from_preset
from jobs.config.read import ClusterReadConfig
from jobs.embedding.plan import prepared_beginning
from jobs.swapping.recorded import recorded_roots, recorded_settings
from operators.api.options import NO_API_OPTIONS, ApiOptions
from operators.fetching.options import FetchOptions
from operators.models.families import IMPORTED
from operators.models.spec import ModelOptions
from pipelines.ledger.entries import ManifestEntry, read_entries
from pipelines.manifests.manifest import SourceConfig
from pipelines.space.field import SETTINGS_KEY, read_settings, read_space, same_space
from pipelines.space.record import differences
from pipelines.swap.columns import check_names_free
from pipelines.swap.side import side_table
from pipelines.swap.state import before_name
from pipelines.table.errors import RefusedError
from pipelines.table.layout import layout_of


class NewColumnConfig(ClusterReadConfig):
    """What every job takes that fills a new column from the images. The file of the embed job that made the table
    serves, but for its model."""

    model: ModelConfig | None = None
    """The new model; with other settings alone, the column's own model with these."""
    images: SourceConfig | None = None
    """A source to read the images from, by id, where the URIs that the table records do not lead to them: tars, Parquet
    files with images, signed URLs."""
    fetch: FetchOptions = FetchOptions()
    api: ApiOptions = NO_API_OPTIONS
    reuse: bool = True
    max_failed: float = Field(default=0.5, ge=0, le=1)
    """Share of the images that may fail before those whose hosts are gone are left for a later call, which ends this
    one. All that failed is counted by the gates, and told by class."""
    verbose: bool = False

    @field_validator("model", mode="before")
    @classmethod
    def _fill_from_conf(cls, model: Any) -> Any:
        return from_preset(model)


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """What a table says of how its rows were embedded."""

    settings: dict[str, Any]
    """`decode`, `normalize` and `regions` of its runs."""
    roots: tuple[str, ...]

    @classmethod
    def read(cls, config: NewColumnConfig, dataset: Any) -> "TableSettings":
        """Raises `RefusedError` for a table whose rows were not embedded by Pixlake, and where no run's settings are
        stored any more."""
        table = config.stored
        entries = entries_of(config, dataset)
        stored = recorded_settings(table, entries)
        if stored is None:
            raise RefusedError(
                f"table {config.table}: no configuration of a run is stored under {table.names.runs}, which would say "
                "how its images were decoded; embed into another table"
            )
        return cls(settings=stored, roots=recorded_roots(table, entries))

    @property
    def kept(self) -> tuple[str, ...]:
        """Columns that hold the boxes of regions."""
        regions = self.settings.get("regions") or {}
        named = (regions.get(name) for name in ("column", "labels", "scores"))
        return tuple(name for name in named if name)


def entries_of(config: NewColumnConfig, dataset: Any) -> list[ManifestEntry]:
    return read_entries(dict(dataset.metadata), dict(config.stored.latest_failures().metadata))


def model_of(field: pa.Field, table: str) -> ModelConfig:
    """The configuration of a column's model, from its record. Raises `RefusedError` for imported vectors."""
    settings = read_settings(pa.schema([field])).get(field.name)
    if settings is not None:
        return ModelConfig.model_validate_json(settings)
    record, model = read_space(field, table)
    spec = model.spec
    if spec.family == IMPORTED:
        raise RefusedError(f"table {table}: {field.name} holds imported vectors, of no model that Pixlake can run")
    options = {name: getattr(spec, name) for name in ModelOptions.model_fields}
    embed = record.get("embed", {})
    numerics = {name: embed[name] for name in ("precision", "backend") if name in embed}
    return ModelConfig(name=spec.name, sha256=spec.sha256, **options, **numerics)


def wanted_model(config: NewColumnConfig, field: pa.Field) -> ModelConfig:
    """The new column's model: the one that is named, or the old column's with other settings. Raises `RefusedError`
    where neither is given."""
    asked = config.model
    if asked is None or not asked.model_fields_set:
        raise RefusedError(
            f"table {config.table}: name the new model with --model, or another setting of its own, such as --set "
            "model.pooling=avg"
        )
    if "name" in asked.model_fields_set:
        return asked
    old = model_of(field, config.table)
    return old.model_copy(update={name: getattr(asked, name) for name in asked.model_fields_set})


def in_words(model: ModelConfig) -> str:
    """The model's name, and what is set of it but for what goes without saying: `efficientnet-lite0 (pooling=gem)`."""
    values = model.model_dump(mode="json", exclude_defaults=True)
    values |= {f"preprocess.{name}": each for name, each in values.pop("preprocess", {}).items()}
    unsaid = {"name", "sha256", "matryoshka_dims", "emulate", "backend"}
    if values.get("precision") == "float32":
        unsaid.add("precision")
    told = ", ".join(f"{name}={each}" for name, each in values.items() if name not in unsaid)
    return f"{model.name} ({told})" if told else model.name


def embed_config(config: NewColumnConfig, model: ModelConfig, recorded: TableSettings, manifest: str) -> EmbedConfig:
    """The embed job that fills the side table from one manifest of the table's rows."""
    own = {"uri": manifest, "uri_column": "uri", "id_column": "id", "keep": recorded.kept}
    roots = (*config.fetch.allowed_roots, *recorded.roots)
    values: Mapping[str, Any] = {
        **recorded.settings,
        "source": config.images or own,
        "table": str(side_table(config.stored)),
        "model": model,
        "storage": config.storage,
        "table_storage": config.table_storage,
        "fetch": config.fetch.model_copy(update={"allowed_roots": roots}),
        "api": config.api,
        "reuse": config.reuse,
        "cluster": config.cluster,
        "verbose": config.verbose,
        "max_failed": config.max_failed,
        # A row that a refresh has changed meanwhile is embedded again under the same id.
        "again": True,
    }
    return EmbedConfig.model_validate(values)


def planned_field(config: NewColumnConfig, job: EmbedConfig, name: str, model: ModelConfig) -> pa.Field:
    """The new column as a field of the table, with its space and the settings by which later runs fill it. Loads the
    model. Raises `RefusedError` where the table keeps regions otherwise than the job would."""
    schema = config.stored.latest().schema
    with prepared_beginning(job) as prepared:
        sink = prepared.pipeline.sink.vectors_schema
    if layout_of(sink) != layout_of(schema):
        raise RefusedError(
            f"table {config.table}: keeps regions as {layout_of(schema)}, and what is recorded of its runs says "
            f"{layout_of(sink)}; embed into another table"
        )
    [found] = [sink.field(each) for each in job.columns]
    metadata = {**found.metadata, SETTINGS_KEY: model.model_dump_json().encode()}
    return found.with_name(name).with_metadata(metadata)


def check_new(config: NewColumnConfig, schema: pa.Schema, field: pa.Field, old: str | None) -> None:
    """Raises `RefusedError` where the name is taken by something else, or where the new space is that of the column it
    would replace."""
    if field.name in schema.names and (old is not None or not same_space(schema.field(field.name), field)):
        raise RefusedError(
            f"table {config.table}: has a column {field.name} already, of another meaning; drop it, or choose another "
            "name"
        )
    if old is None:
        return
    check_names_free(schema, {field.name: before_name(old)})
    there, new = (read_space(each, config.table)[0] for each in (schema.field(old), field))
    if not differences(there, new):
        raise RefusedError(
            f"table {config.table}: {old} is of this very model and these settings already; there is nothing to swap"
        )
