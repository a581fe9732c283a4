"""Indexes of other tools, full-text ones above all, brought up to all rows by Lance's own means."""

import lance

from operators.base.errors import clean_message
from pipelines.filter_index.build import filters_of_ours
from pipelines.index.records import INDEX_PREFIX, covered_fragments, fragment_rows
from pipelines.table.table import Table


def bring_up_others(table: Table) -> tuple[list[str], list[str]]:
    """Add the rows that they lack to all indexes that Pixlake has not built: names of those that lacked any and have
    them now, and a sentence on each that Lance does not bring up."""
    done, refused = [], []
    for name in indexes_of_others(table.latest()):
        try:
            table.latest().optimize.optimize_indices(index_names=[name])
            done.append(name)
        except (ValueError, RuntimeError, OSError) as error:
            why = clean_message(str(error).splitlines()[0])
            refused.append(f"{table.uri}: index {name}, of another tool, was not brought up: {why}")
    return done, refused


def indexes_of_others(dataset: "lance.LanceDataset") -> list[str]:
    """Names of the indexes that Pixlake has not built, and that lack rows."""
    ours = {index.name for index in filters_of_ours(dataset)}
    ours |= {key.removeprefix(INDEX_PREFIX) for key in dataset.metadata if key.startswith(INDEX_PREFIX)}
    everyone = set(fragment_rows(dataset))
    return [
        index.name
        for index in dataset.describe_indices()
        if index.name not in ours and everyone - covered_fragments([index])
    ]
