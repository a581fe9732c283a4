"""The models of a run on a table whose columns were changed since it was made: those that the table records."""

from collections.abc import Mapping

from pydantic import Field

from jobs.config.embed import EmbedConfig
from jobs.config.model_names import ModelConfig
from operators.base.columns import VECTOR
from operators.models.spec import ModelSpec
from pipelines.space.field import read_settings
from pipelines.swap.state import Swap, read_swap
from pipelines.table.errors import RefusedError
from pipelines.table.open import TableInfo


class FilledConfig(EmbedConfig):
    """An embed job with the columns that its table has beside those that the job names."""

    beside: dict[str, ModelConfig] = Field(default_factory=dict)

    @property
    def columns(self) -> dict[str, ModelConfig]:
        return super().columns | self.beside


def with_table_models(config: EmbedConfig, existing: TableInfo | None) -> EmbedConfig:
    """The job with the models that the table records: of columns that were added since it was made (`pixlake
    add-column`, or a swap), and of those that the job names without saying which model.

    A job that names another model than the table records is left to the comparison of spaces; but where the table was
    swapped from that model to another, raises `RefusedError` that says when.
    """
    stored = {} if existing is None else read_settings(existing.schema)
    if existing is None or not stored:
        return config
    recorded = {name: ModelConfig.model_validate_json(text) for name, text in stored.items()}
    swap = read_swap(existing.metadata)
    own = {
        column: _agreed(asked, recorded[column], column, swap, config.table) if column in recorded else asked
        for column, asked in _asked(config, existing, recorded).items()
    }
    values = {name: getattr(config, name) for name in EmbedConfig.model_fields}
    if config.model is not None:
        values["model"] = own.get(VECTOR)
    else:
        values["models"] = {column.removeprefix(f"{VECTOR}_"): model for column, model in own.items()}
    beside = {column: model for column, model in recorded.items() if column not in own}
    return FilledConfig.model_construct(config.model_fields_set, **values, beside=beside)


def _asked(config: EmbedConfig, existing: TableInfo, recorded: Mapping[str, ModelConfig]) -> dict[str, ModelConfig]:
    """The columns that the job names; none where it names no model and the table has no column of that name."""
    if config.model is not None and not config.model.model_fields_set and VECTOR not in existing.schema.names:
        return {}
    return config.columns


def _agreed(asked: ModelConfig, recorded: ModelConfig, column: str, swap: Swap | None, table: str) -> ModelConfig:
    if "name" not in asked.model_fields_set:
        return recorded.model_copy(update={name: getattr(asked, name) for name in asked.model_fields_set})
    live = swap is not None and swap.column == column and swap.state in ("flipped", "finishing", "finished")
    if swap is not None and live and _named(asked) != _named(recorded):
        back = "" if swap.state == "finished" else f"; `pixlake swap {table} --rollback` takes the swap back"
        raise RefusedError(
            f"table {table}: {column} was swapped from {swap.old_model} to {swap.new_model} at {swap.flipped_at} (swap "
            f"{swap.id}), and this run names {asked.name}. Leave the model out, and the run takes the table's own{back}"
        )
    return asked


def _named(model: ModelConfig) -> ModelSpec:
    return model.spec().model_copy(update={"sha256": None})
