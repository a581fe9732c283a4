"""Columns changed at the flip, at a rollback, at the end: each under a newly claimed term, and ended where one was cut
off."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jobs.swapping.backfill import new_id
from pipelines.index.records import forget_index_records, vector_indexes
from pipelines.swap.columns import (
    check_names_free,
    check_there,
    derived_of,
    drop_columns,
    flip_names,
    is_flipped,
    rename_columns,
    rollback_names,
    take_over,
)
from pipelines.swap.record import counts_now, write
from pipelines.swap.side import UNTRIED, side_table
from pipelines.swap.state import Swap, advance, before_name, done, now, read_swap
from pipelines.table.errors import RefusedError
from pipelines.table.fenced_table import FencedTable
from pipelines.table.open import drop_tables
from pipelines.table.table import Table
from pipelines.versions.prune import Keep, prune


@dataclass(frozen=True, kw_only=True)
class Reclaimed:
    """What a drop gave back at once: data of versions that were read a short while ago goes with a later pruning."""

    swap: Swap
    bytes: int


def flip(table: Table, swap: Swap, insisted: tuple[str, ...] = ()) -> Swap:
    """Give the new column the old one's name, and the old one another, in one commit."""
    after = advance(swap, "flip", str(table), insisted=insisted or swap.insisted)
    vectors = _held(table, swap)
    schema = vectors.dataset.schema
    names = {} if is_flipped(schema, swap.column) else flip_names(schema, swap.column)
    check_names_free(schema, names)
    write(vectors, after, names)
    rename_columns(vectors, names, swap.column, flipped=True)
    return _end(vectors, _counted(table, after))


def _counted(table: Table, swap: Swap) -> Swap:
    """The flipped swap with its counts as the table is now: while indexes are built and gates measured, rows are filled
    by other runs, and come that nobody has tried."""
    rows, lacking = counts_now(table.latest(), swap.column)
    known = sum(swap.unfilled.values())
    unfilled = swap.unfilled if lacking >= known else {}
    if more := lacking - sum(unfilled.values()):
        unfilled = {**unfilled, UNTRIED: unfilled.get(UNTRIED, 0) + more}
    return swap.model_copy(update={"rows": rows, "unfilled": unfilled})


def roll_back(table: Table, swap: Swap) -> Swap:
    """Give the old column its name back, in one commit; the new one stays, and is kept full. Raises `RefusedError`
    where the old one is there no more."""
    after = advance(swap, "rollback", str(table))
    if swap.state == "flipped":
        check_there(str(table), table.latest().schema, before_name(swap.column))
    vectors = _held(table, swap)
    schema = vectors.dataset.schema
    names = rollback_names(schema, swap.column) if is_flipped(schema, swap.column) else {}
    check_names_free(schema, names)
    write(vectors, after, names)
    rename_columns(vectors, names, swap.column, flipped=False)
    return _end(vectors, after)


def finish(table: Table, swap: Swap, keep_days: float, *, insist: bool) -> Reclaimed:
    """Drop the old column, all that is derived of it and the side table. Raises `RefusedError` within `keep_days` of
    the flip unless insisted."""
    after = advance(swap, "finish", str(table))
    if swap.state == "flipped" and not insist:
        _check_age(table, swap, keep_days)
    return _drop(table, swap, after, before_name(swap.column) if swap.kind == "swap" else None)


def abandon(table: Table, swap: Swap) -> Reclaimed:
    """Drop the side table and the new column with all that is derived of it, but not one that was there before."""
    return _drop(table, swap, advance(swap, "abandon", str(table)), None if swap.there else swap.making)


def _check_age(table: Table, swap: Swap, keep_days: float) -> None:
    assert swap.flipped_at is not None
    until = datetime.fromisoformat(swap.flipped_at) + timedelta(days=keep_days)
    if datetime.fromisoformat(now()) < until:
        raise RefusedError(
            f"table {table}: was flipped at {swap.flipped_at}, and its old column is kept for {keep_days:g} days, "
            f"until {until.isoformat(timespec='seconds')}, so that --rollback can take the swap back; `pixlake swap "
            f"{table} --finish --insist` drops it now"
        )


def _drop(table: Table, swap: Swap, after: Swap, column: str | None) -> Reclaimed:
    vectors = _held(table, swap)
    write(vectors, after)
    if column is not None:
        dataset: Any = vectors.dataset
        names = [column, *derived_of(dataset.schema, column)]
        indexes = [index.name for name in names for index in vector_indexes(dataset, name)]
        drop_columns(vectors, names)
        forget_index_records(table, indexes)
    drop_tables(side_table(table), takedowns=True)
    pruned = prune(table, Keep(number=1))
    return Reclaimed(swap=_end(vectors, after), bytes=sum(each.bytes for each in pruned))


def _held(table: Table, swap: Swap) -> FencedTable:
    """The vector table under the next term. Raises `RefusedError` where its record is another than was read."""
    vectors = take_over(table, new_id(swap.kind))
    if read_swap(vectors.metadata) != swap:
        raise RefusedError(
            f"table {table}: another command has changed the swap {swap.id} meanwhile; run the same command again to "
            "go on from there"
        )
    return vectors


def _end(vectors: FencedTable, swap: Swap) -> Swap:
    ended = done(swap)
    write(vectors, ended)
    return ended
