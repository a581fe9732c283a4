"""`pixlake add-column`: a second model's vectors beside the first, in a table that has rows, for good."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel

from jobs import embed
from jobs.config.model_names import ModelConfig, check_column_name, check_model_name, derive_name
from jobs.swapping.backfill import backfill, begin, needs_filling, same_swap
from jobs.swapping.change import abandon, finish
from jobs.swapping.plan import NewColumnConfig
from jobs.swapping.unfilled import unfilled_lines
from operators.base.columns import VECTOR
from operators.base.errors import UserError, printable
from pipelines.scan.plain import plain_count
from pipelines.space.choose import IN_SWAP
from pipelines.space.field import read_settings
from pipelines.swap.fill import lacking_rows
from pipelines.swap.state import Swap, read_swap, refusal
from pipelines.table.errors import RefusedError


class AddColumnConfig(NewColumnConfig):
    """Which model is added, and the name that its column goes by."""

    name: Annotated[str, AfterValidator(check_model_name)] | None = None
    """The column is `vector_<name>`; default: the model's own short name."""
    abandon: bool = False
    """Give up a column that is not filled yet, and drop it."""


class AddColumnReport(BaseModel):
    """The new column, and what this call did for it."""

    table: str
    status: Literal["complete", "interrupted", "failed"]
    column: str
    addition: Swap | None
    """How it was filled; None where there was nothing to do."""
    filled_now: int = 0
    examples: dict[str, list[str]] = {}
    """Class -> ids of up to 20 live rows without a vector in the column."""
    message: str = ""


def run(config: AddColumnConfig) -> AddColumnReport:
    """Add the column and fill it; goes on with one that is not filled yet. Raises `UserError` for what a user can mend,
    `TableError` and `OSError` where storage fails."""
    table = config.stored
    added = read_swap(table.latest().metadata)
    if config.abandon:
        if added is None or added.kind != "add":
            raise RefusedError(f"table {config.table}: no column is being added")
        return _report(config, abandon(table, added).swap)
    if added is None or added.over:
        column = _column(config)
        if _is_full(config, column):
            return AddColumnReport(table=config.table, status="complete", column=column, addition=None)
        assert config.model is not None
        added = begin(config, config.model, kind="add", column=column)
    if added.kind != "add" or not same_swap(config, added):
        raise RefusedError(refusal(added, "add another column beside", config.table))
    if added.state == "finishing" or (added.state == "filled" and not needs_filling(config, added)):
        return _report(config, finish(table, added, 0, insist=True).swap)
    filled = backfill(config, added, embed.run)
    if filled.status != "complete":
        return _report(config, filled.swap).model_copy(update={"status": filled.status, "message": filled.message})
    told = {"filled_now": filled.filled, "examples": filled.examples}
    return _report(config, finish(table, filled.swap, 0, insist=True).swap).model_copy(update=told)


def _column(config: AddColumnConfig) -> str:
    """The new column's name. Raises `UserError` where none can be made of what is given."""
    if config.model is None or "name" not in config.model.model_fields_set:
        raise UserError(f"table {config.table}: name the model to add with --model")
    name = config.name or derive_name(config.model.name)
    column = check_column_name(f"{VECTOR}_{name}")
    if f"_{name}".endswith(IN_SWAP):
        raise UserError(f"--name {name}: {column} is a name that a model swap gives; choose another")
    return column


def _is_full(config: AddColumnConfig, column: str) -> bool:
    """Whether the column is there, and no live row lacks a vector in it. Raises `RefusedError` where it is of another
    model."""
    dataset = config.stored.latest()
    if column not in dataset.schema.names:
        return False
    stored = read_settings(dataset.schema).get(column)
    if stored is not None and ModelConfig.model_validate_json(stored) != config.model:
        raise RefusedError(f"table {config.table}: has a column {column} already, of another model; choose a --name")
    return plain_count(dataset, lacking_rows(dataset.schema, column)) == 0


def _report(config: AddColumnConfig, added: Swap) -> AddColumnReport:
    return AddColumnReport(table=config.table, status="complete", column=added.column, addition=added)


def as_text(report: AddColumnReport) -> str:
    """A few lines for a person."""
    added = report.addition
    if added is None:
        return printable(f"{report.table}: {report.column} is there, and lacks nothing")
    lines = [
        f"column     {report.column} of {added.new_model}: {added.state}",
        *unfilled_lines(added, report.filled_now, report.examples),
        *([report.message] if report.message else []),
    ]
    if added.state == "finished":
        lines.append(f"later runs fill it too; `pixlake search {report.table} --column {report.column}` searches it")
    return "\n".join(map(printable, lines))
