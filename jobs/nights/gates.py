"""What must hold of a table's live columns every morning: the model gives here what it gave, and the indexes find."""

from collections.abc import Iterator
from typing import Any

from jobs.nights.config import GateSection
from jobs.session.progress import Progress
from jobs.swapping.column_gates import canary_gate
from jobs.swapping.gate_report import Gate
from operators.storage.stores import StorageOptions
from pipelines.gate.index_recall import index_now
from pipelines.index.records import read_index_record
from pipelines.space.choose import base_columns, columns_there, not_in_swap
from pipelines.table.table import Table

BY_CHANCE = 0.02
"""By how much an index may miss its target: it was tuned to reach it on other queries."""


def live_gates(
    section: GateSection, table: Table, storage: StorageOptions, just_measured: set[str], progress: Progress
) -> list[Gate]:
    """A gate of canaries for each model's column, one of index recall for each column with an index of Pixlake's; not
    for the other column of a swap.

    `storage` opens weights. `just_measured` are columns whose index was measured when it was brought up a moment ago:
    its record says what it finds. Reads all vectors of other indexed columns.
    """
    dataset = table.latest()
    columns = not_in_swap(columns_there(str(table), dataset.schema))
    models = [name for name in base_columns(str(table), dataset.schema) if name in columns]
    canaries = [_named(canary_gate(table, dataset, name, storage, progress), name) for name in models]
    return [*canaries, *_index_gates(section, table, dataset, columns, just_measured, progress)]


def _index_gates(
    section: GateSection, table: Table, dataset: Any, columns: list[str], just_measured: set[str], progress: Progress
) -> Iterator[Gate]:
    for name in columns:
        record = read_index_record(dataset, name)
        if record is None:
            continue
        recall, queries, how = record.recall, record.queries, "measured when it was brought up"
        if name not in just_measured:
            progress.phase(f"asking the index on {name}")
            found = index_now(table, dataset, name, count=section.sample, seed=0)
            if found is None:
                continue
            recall, queries, how = found.recall, found.queries, f"{found.queries:,} rows as queries"
        wanted = section.min_index_recall or record.target_recall
        yield Gate(
            name=f"index_recall.{name}",
            new=recall,
            threshold=wanted,
            passed=recall >= wanted - BY_CHANCE,
            how=f"index recall@{record.k} of {record.type}: {how}, {BY_CHANCE:g} allowed for chance",
            rows=queries,
        )


def _named(gate: Gate, column: str) -> Gate:
    return gate.model_copy(update={"name": f"{gate.name}.{column}"})
