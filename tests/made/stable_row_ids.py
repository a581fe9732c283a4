"""Tables as releases until 2026-11-27 made them: with Lance's stable row ids, which only a table's creation gives."""

import shutil

import lance
from lance import LanceOperation
from lance.dataset import Transaction

from pipelines.table.names import TableNames


def make_with_stable_row_ids(names: TableNames) -> None:
    """Of two tables without rows: made again as they are, but for the row ids."""
    for uri in (names.vectors, names.failures):
        before = lance.dataset(uri)
        assert not before.count_rows()
        schema, metadata = before.schema, dict(before.metadata)
        shutil.rmtree(uri)
        created = Transaction(0, LanceOperation.Overwrite(schema, []))
        made = lance.LanceDataset.commit(uri, created, max_retries=0, enable_stable_row_ids=True)
        noted = LanceOperation.UpdateConfig(table_metadata_updates=LanceOperation.UpdateMap(metadata))
        made = lance.LanceDataset.commit(made, noted, read_version=made.version)
        assert made.has_stable_row_ids
