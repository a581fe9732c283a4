"""A manifest opened as a job opens it, and read as its workers read it."""

from typing import Any

import numpy as np

from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.manifests.files import Listing
from pipelines.manifests.manifest import Manifest, OnRows, SourceConfig
from pipelines.manifests.open import open_manifest, open_source
from pipelines.sources.source import Source
from pipelines.sources.work import shard_work


def manifest_of(
    config: SourceConfig, storage: StorageOptions, work_uri: str, progress: OnRows | None = None
) -> Manifest:
    """Of a source that is no folder of ready vectors."""
    files = open_source(config, storage)
    assert isinstance(files, Listing)
    return open_manifest(files, config, work_uri, progress)


def rows_of(manifest: Manifest, storage: StorageOptions = NO_OPTIONS) -> list[dict[str, Any]]:
    """All rows, in the manifest's order."""
    rows: list[dict[str, Any]] = []
    for shard in manifest.shards:
        work = shard_work(shard, shard.number, np.ones(shard.num_rows, bool))
        assert work is not None
        for table in Source(columns=manifest.columns, storage=storage).read(work, 1000):
            rows += table.to_pylist()
    return rows
