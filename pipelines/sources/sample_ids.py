"""A few ids from all over a manifest, and how many of them a table holds."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ID
from pipelines.manifests.manifest import Shard
from pipelines.sources.source import Source
from pipelines.sources.work import shard_work
from pipelines.table.fenced_operations import places_of
from pipelines.table.table import Table, open_dataset

_IDS, _SHARDS = 1000, 8
"""How many ids are looked at, and from how many shards; each shard is read up to the last row that is taken."""


def sample_ids(source: Source, shards: Sequence[Shard], rows: int) -> pa.Array:
    """About a thousand ids of the first `rows` rows, each once, evenly spread over up to eight shards."""
    found, source = [], source.ids_only()
    for shard, chosen in _spread(shards, rows):
        item = shard_work(shard, shard.number, chosen)
        found += [batch[ID.name].combine_chunks() for batch in source.read(item, 8192)] if item else []
    return pc.unique(pa.chunked_array(found, pa.string())).drop_null()


def ids_held(table: Table, ids: pa.Array) -> int:
    """How many of the ids have a row in the vector table. All rows are looked at; no index is asked."""
    dataset = open_dataset(table.uri, table.storage)
    return 0 if dataset is None else len(pc.unique(places_of(dataset, ids)[ID.name]))


def _spread(shards: Sequence[Shard], rows: int) -> list[tuple[Shard, np.ndarray]]:
    """About a thousand of the first `rows` rows, evenly spread over a few shards: for each shard (num_rows,) bool."""
    inside = [shard for shard in shards if shard.first_row < rows]
    chosen = [inside[at] for at in np.unique(np.linspace(0, len(inside) - 1, _SHARDS).astype(int))] if inside else []
    picked = []
    for shard in chosen:
        there = min(shard.num_rows, rows - shard.first_row)
        mask = np.zeros(shard.num_rows, bool)
        mask[np.unique(np.linspace(0, there - 1, -(-_IDS // len(chosen))).astype(int))] = True
        picked.append((shard, mask))
    return picked
