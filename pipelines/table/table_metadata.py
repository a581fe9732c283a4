"""Notes in a table's metadata, which writers of other keys, a running embed job among them, do not disturb."""

from collections.abc import Mapping

import lance

from operators.storage.stores import StorageOptions, lance_options
from pipelines.table.fenced_operations import metadata_update


def update_table_metadata(uri: str, updates: Mapping[str, str | None], storage: StorageOptions) -> None:
    """None takes a key away. Raises `OSError` where storage fails."""
    options = lance_options(uri, storage)
    dataset = lance.dataset(uri, storage_options=options)
    operation = metadata_update(updates)
    lance.LanceDataset.commit(dataset, operation, read_version=dataset.version, storage_options=options)
