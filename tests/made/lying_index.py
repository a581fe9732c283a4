"""An index that holds less than it says it does, as another writer's library has left them in tables of ours."""

from collections.abc import Sequence

import lance
from lance import LanceOperation


def lie_about(uri: str, columns: Sequence[str]) -> "lance.LanceDataset":
    """Of each column, a BTREE over the lowest fragment that says it covers all, those of later commits too: a filter
    that asks it finds no row of the others."""
    dataset = lance.dataset(uri)
    fragments = sorted(fragment.fragment_id for fragment in dataset.get_fragments())
    assert len(fragments) > 1
    for column in columns:
        index = dataset.create_index_uncommitted(column, "BTREE", name=f"{column}_idx", fragment_ids=fragments[:1])
        index.fragment_ids = set(range(fragments[-1] + 100))
        added = LanceOperation.CreateIndex(new_indices=[index], removed_indices=[])
        dataset = lance.LanceDataset.commit(dataset, added, read_version=dataset.version)
    return dataset
