"""A swap's record written: under the term where columns change, and by compare-and-swap where they do not."""

import lance

from operators.base.failpoints import failpoint
from operators.storage.stores import lance_options
from pipelines.derivation.record import DERIVED_PREFIX
from pipelines.scan.live import live_rows
from pipelines.scan.plain import plain_count
from pipelines.swap.fill import lacking_rows
from pipelines.swap.state import SWAP_KEY, Swap, read_swap
from pipelines.table.errors import RefusedError
from pipelines.table.fenced_operations import metadata_update
from pipelines.table.fenced_table import FencedTable
from pipelines.table.publish import until_landed
from pipelines.table.table import Table


def note(table: Table, before: Swap, after: Swap) -> Swap:
    """Write a step that changes no column; gives it. Runs that are on are not disturbed, so no term is taken: of two
    writers that have read the same record Lance lets one pass, and the other finds it changed.

    Raises `RefusedError` where the record is no longer `before`, `CommitFailedError` where storage stays away.
    """

    def attempt(again: bool) -> Swap:
        dataset = table.latest()
        there = read_swap(dataset.metadata)
        if there == after:
            return after
        if there != before:
            raise RefusedError(
                f"table {table}: another command has changed the swap {before.id} meanwhile (it is "
                f"{there.state if there else 'gone'} now); run the same command again to go on from there"
            )
        options = lance_options(table.uri, table.storage)
        operation = metadata_update({SWAP_KEY: after.model_dump_json()})
        lance.LanceDataset.commit(dataset, operation, read_version=dataset.version, storage_options=options)
        failpoint("swap.noted")
        return after

    return until_landed(table.uri, attempt)


def note_filled(table: Table, swap: Swap, column: str) -> Swap:
    """Write that no live row lacks a vector in the new column, which is called `column` now, where that is so; gives
    the record. Raises as `note` does."""
    rows, lacking = counts_now(table.latest(), column)
    return swap if lacking else note(table, swap, swap.model_copy(update={"rows": rows, "unfilled": {}}))


def counts_now(dataset: "lance.LanceDataset", column: str) -> tuple[int, int]:
    """(live rows, those of them without a vector in the column)."""
    schema = dataset.schema
    return plain_count(dataset, live_rows(schema)), plain_count(dataset, lacking_rows(schema, column))


def write(vectors: FencedTable, swap: Swap, renamed: dict[str, str] | None = None) -> None:
    """Write the record under the term that is held. `renamed`: columns whose other records get their new names too."""
    updates: dict[str, str | None] = {SWAP_KEY: swap.model_dump_json()}
    records = {
        old: vectors.metadata[DERIVED_PREFIX + old] for old in renamed or {} if DERIVED_PREFIX + old in vectors.metadata
    }
    updates |= {DERIVED_PREFIX + old: None for old in records}
    updates |= {DERIVED_PREFIX + (renamed or {})[old]: record for old, record in records.items()}
    vectors.set_metadata(updates)
