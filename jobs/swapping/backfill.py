"""A new column begun and filled: passes over the rows that lack it, each an embed job into the side table."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from jobs.config.embed import EmbedConfig
from jobs.config.model_names import ModelConfig
from jobs.reports.run_report import Report
from jobs.session.progress import working
from jobs.session.ray_cluster import fragment_tasks
from jobs.swapping.plan import (
    NewColumnConfig,
    TableSettings,
    check_new,
    embed_config,
    in_words,
    model_of,
    planned_field,
)
from jobs.swapping.takedowns import take_down_beside
from operators.base.columns import VECTOR
from operators.base.failpoints import failpoint
from pipelines.manifests.manifest import SourceMissingError
from pipelines.scan.plain import plain_count
from pipelines.space.choose import base_columns
from pipelines.space.field import same_space
from pipelines.swap.columns import add_column, check_there, record_settings, take_over
from pipelines.swap.fill import FillReport, fill_column, lacking_rows
from pipelines.swap.record import note, write
from pipelines.swap.rows import write_rows
from pipelines.swap.side import UNTRIED, made_by_swap, manifests_of, side_table
from pipelines.swap.state import Swap, advance, check_may_begin, now, read_swap
from pipelines.table.errors import RefusedError
from pipelines.table.open import drop_tables, open_existing
from pipelines.table.table import Table, open_dataset

EmbedJob = Callable[[EmbedConfig], Report]
"""The embed job: `jobs.embed.run`."""


@dataclass(frozen=True, kw_only=True)
class Backfilled:
    """How a backfill ended."""

    swap: Swap
    status: Literal["complete", "interrupted", "failed"]
    message: str = ""
    filled: int = 0
    """Rows that got a new vector by this call."""
    examples: dict[str, list[str]]
    """Class -> ids of up to 20 live rows without a new vector."""


def new_id(kind: str) -> str:
    return f"{kind}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def begin(
    config: NewColumnConfig, model: ModelConfig, *, kind: Literal["swap", "add"], column: str, old_model: str = ""
) -> Swap:
    """Record the swap and add its column, after all that can be refused was. `column`: the one to be replaced, or with
    kind `add` the new one.

    Takes the next term: an embed or refresh run that is on is stopped, and started again fills the new column too.
    """
    table = config.stored
    dataset = table.latest()
    check_may_begin(read_swap(dataset.metadata), config.table)
    recorded, side = TableSettings.read(config, dataset), side_table(table)
    _drop_left(config.table, side)
    swap = Swap(
        id=new_id(kind),
        state="backfill",
        kind=kind,
        column=column,
        there=column in dataset.schema.names and kind == "add",
        old_model=old_model,
        new_model=in_words(model),
        settings=model.model_dump(mode="json"),
        started_at=now(),
    )
    with working(f"listing the images of {config.table}"):
        swap, rows = _next_pass(config, swap, recorded)
        if not rows:
            raise RefusedError(f"table {config.table}: has no images to fill a column from; embed into another table")
    with working(f"opening {model.name}: libraries, weights, canary images"):
        field = planned_field(config, _job(config, swap, recorded, 1), swap.making, model)
        check_new(config, dataset.schema, field, column if kind == "swap" else None)
        models = {name: model_of(dataset.schema.field(name), config.table) for name in _bases(config, dataset)}
        vectors = take_over(table, swap.id)
        check_may_begin(read_swap(vectors.metadata), config.table)
        record_settings(vectors, {name: each.model_dump_json() for name, each in models.items()})
        write(vectors, swap)
        failpoint("swap.begun")
        add_column(vectors, field)
    return swap


def _drop_left(table: str, side: Table) -> None:
    """Drop the side table of a swap that the table, restored to a state before, knows nothing of. Raises `RefusedError`
    where another table goes by that name."""
    existing = open_existing(side)
    if existing is None:
        return
    if not made_by_swap(side, existing):
        raise RefusedError(
            f"table {table}: {side.uri} is there, no swap is on, and nothing says that it is of an earlier one; rename "
            f'it, or drop it with LanceDB: connect("{side.names.database}").drop_table("{side.names.name}")'
        )
    drop_tables(side, takedowns=True)


def _bases(config: NewColumnConfig, dataset: Any) -> list[str]:
    return base_columns(config.table, dataset.schema)


def backfill(config: NewColumnConfig, swap: Swap, embed: EmbedJob) -> Backfilled:
    """Fill the new column of every row that can be; goes on where an earlier call was cut off, takes failures again,
    and repeats while rows come that no pass has tried."""
    table = config.stored
    # A `pixlake delete` that was killed may not have come so far.
    take_down_beside(table, swap.id)
    recorded = TableSettings.read(config, table.latest())
    _add_column_again(config, swap, recorded)
    number, filled = 1, 0
    begun_before = swap.passes if _was_made(config) else 0
    while True:
        for each in range(number, swap.passes + 1):
            job = _job(config, swap, recorded, each)
            try:
                report = embed(job.model_copy(update={"retry_failed": "all"}) if each <= begun_before else job)
            except SourceMissingError as error:
                if config.images is not None:
                    raise
                raise _taken_back(config, swap) from error
            if report.status != "complete":
                return Backfilled(swap=swap, status=report.status, message=report.message, examples={})
        number = swap.passes + 1
        failpoint("swap.embedded")
        done = _fill(config, swap)
        filled += done.filled
        if not done.unfilled[UNTRIED] or config.images is not None:
            break
        following, rows = _next_pass(config, swap, recorded)
        if not rows:
            break
        swap = note(table, swap, following)
    counts = {"rows": done.rows, "unfilled": dict(done.unfilled)}
    flipped = swap.state == "flipped"
    after = swap.model_copy(update=counts) if flipped else advance(swap, "fill", config.table, **counts)
    return Backfilled(swap=note(table, swap, after), status="complete", filled=filled, examples=done.examples)


def needs_filling(config: NewColumnConfig, swap: Swap) -> bool:
    """Whether live rows lack a vector: some have come since the column was filled, or failed and are tried again.
    Raises `RefusedError` where the column that was filled is there no more."""
    if swap.state == "backfill":
        return True
    dataset = config.stored.latest()
    check_there(config.table, dataset.schema, swap.new_column)
    return plain_count(dataset, lacking_rows(dataset.schema, swap.new_column)) > 0


def _was_made(config: NewColumnConfig) -> bool:
    """Whether the side table is there, so that there may be failures to take again."""
    return open_dataset(side_table(config.stored).uri, config.storage_of_table) is not None


def _add_column_again(config: NewColumnConfig, swap: Swap, recorded: TableSettings) -> None:
    """Add the column where the command that began the swap was killed before it had."""
    if swap.new_column in config.stored.latest().schema.names:
        return
    model = ModelConfig.model_validate(swap.settings)
    field = planned_field(config, _job(config, swap, recorded, 1), swap.making, model)
    vectors = take_over(config.stored, new_id(swap.kind))
    if read_swap(vectors.metadata) != swap:
        raise RefusedError(f"table {config.table}: another command has changed the swap meanwhile; run the same again")
    add_column(vectors, field)


def _next_pass(config: NewColumnConfig, swap: Swap, recorded: TableSettings) -> tuple[Swap, int]:
    """(the swap with one more pass, rows of its manifest)."""
    following = swap.model_copy(update={"passes": swap.passes + 1})
    rows = write_rows(config.stored, swap.new_column, recorded.kept, _manifest(config, following, following.passes))
    return following, rows


def _manifest(config: NewColumnConfig, swap: Swap, number: int) -> str:
    """The folder of a pass's manifest: beside the side table, with which it is dropped."""
    return f"{manifests_of(side_table(config.stored))}{swap.id}/{number:03d}"


def _job(config: NewColumnConfig, swap: Swap, recorded: TableSettings, number: int) -> EmbedConfig:
    model = ModelConfig.model_validate(swap.settings)
    return embed_config(config, model, recorded, _manifest(config, swap, number))


def _fill(config: NewColumnConfig, swap: Swap) -> FillReport:
    table = config.stored
    wanted, made = table.latest().schema, side_table(table).latest().schema
    if swap.new_column in wanted.names and not same_space(wanted.field(swap.new_column), made.field(VECTOR)):
        raise _taken_back(config, swap)
    with (
        working(f"filling {swap.new_column}"),
        fragment_tasks(config.cluster, table.latest().count_rows()) as execute,
    ):
        return fill_column(table, swap.new_column, VECTOR, execute=execute)


def _taken_back(config: NewColumnConfig, swap: Swap) -> RefusedError:
    """For a table that was restored to a state within a swap that is over: what the swap had made beside the table is
    dropped, or there is that of another one."""
    what = "pixlake add-column" if swap.kind == "add" else "pixlake swap"
    end = "--finish` ends it, and refreshes fill what is lacking" if swap.state == "flipped" else "--abandon` ends it"
    return RefusedError(
        f"table {config.table}: what {swap.id} ({swap.new_model}) had embedded beside the table is not there any more: "
        f"another tool has restored a state of the table from within it. `{what} {config.table} {end}"
    )


def fill_what_is_made(config: NewColumnConfig, swap: Swap) -> None:
    """Fill the new column from what a backfill that is not over has made so far."""
    if _was_made(config):
        _fill(config, swap)


def same_swap(config: NewColumnConfig, swap: Swap) -> bool:
    """Whether the model that the command names, if any, is the swap's."""
    asked = config.model
    if asked is None or not asked.model_fields_set:
        return True
    recorded = ModelConfig.model_validate(swap.settings)
    return all(getattr(asked, name) == getattr(recorded, name) for name in asked.model_fields_set)
