"""`pixlake add-column`: a second model's vectors beside the first, in a table that has rows, for good."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel

from jobs import embed
from jobs.config.model_names import check_column_name, check_model_name, derive_name
from jobs.swapping.backfill import backfill, begin, needs_filling, same_swap
from jobs.swapping.change import abandon, finish
from jobs.swapping.plan import NewColumnConfig
from jobs.swapping.unfilled import unfilled_lines
from operators.base.columns import VECTOR
from operators.base.errors import UserError, printable
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
    addition: Swap
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
        added = _begin(config)
    if added.kind != "add" or not same_swap(config, added):
        raise RefusedError(refusal(added, "add another column beside", config.table))
    if added.state == "finishing" or (added.state == "filled" and not needs_filling(config, added)):
        return _report(config, finish(table, added, 0, insist=True).swap)
    filled = backfill(config, added, embed.run)
    if filled.status != "complete":
        return _report(config, filled.swap).model_copy(update={"status": filled.status, "message": filled.message})
    told = {"filled_now": filled.filled, "examples": filled.examples}
    return _report(config, finish(table, filled.swap, 0, insist=True).swap).model_copy(update=told)


def _begin(config: AddColumnConfig) -> Swap:
    if config.model is None or "name" not in config.model.model_fields_set:
        raise UserError(f"table {config.table}: name the model to add with --model")
    name = config.name or derive_name(config.model.name)
    column = check_column_name(f"{VECTOR}_{name}")
    if name in ("next", "before"):
        raise UserError(f"--name {name}: {column} is a name that a model swap gives; choose another")
    return begin(config, config.model, kind="add", column=column)


def _report(config: AddColumnConfig, added: Swap) -> AddColumnReport:
    return AddColumnReport(table=config.table, status="complete", column=added.column, addition=added)


def as_text(report: AddColumnReport) -> str:
    """A few lines for a person."""
    added = report.addition
    lines = [
        f"column     {report.column} of {added.new_model}: {added.state}",
        *unfilled_lines(added, report.filled_now, report.examples),
        *([report.message] if report.message else []),
    ]
    if added.state == "finished":
        lines.append(f"later runs fill it too; `pixlake search {report.table} --column {report.column}` searches it")
    return "\n".join(map(printable, lines))
