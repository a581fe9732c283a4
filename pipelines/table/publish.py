"""Commits that are tried until they land: after conflicts, after lost answers, and while storage fails for a while."""

import random
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import lance

from operators.storage.stores import StorageOptions, lance_options
from pipelines.table.errors import CommitFailedError, TableError
from pipelines.table.fenced_operations import metadata_update
from pipelines.table.table import open_dataset

T = TypeVar("T")

ATTEMPTS = 10
LONGEST_PAUSE_S = 5.0


def until_landed(where: str, attempt: Callable[[bool], T]) -> T:
    """The result of `attempt`, which is called again, after a pause, while it raises an `OSError`: a conflict, a lost
    answer, or storage that fails. Its argument says whether it was called before, and so may have landed unseen.

    Raises `CommitFailedError` after ten attempts, about ten seconds. Other errors of `attempt` pass as they are.
    """
    failure: OSError | None = None
    for number in range(ATTEMPTS):
        if number:
            time.sleep(random.uniform(0, min(LONGEST_PAUSE_S, 0.05 * 2**number)))
        try:
            return attempt(number > 0)
        except OSError as error:
            failure = error
    raise CommitFailedError(f"{where}: not committed in {ATTEMPTS} attempts: {failure}") from failure


def update_table_metadata(uri: str, updates: Mapping[str, str | None], storage: StorageOptions) -> None:
    """Set keys of a table's metadata; a value of None deletes its key. Writers of other keys, such as a running embed
    job, are not disturbed.

    Raises `CommitFailedError` where storage fails, `TableError` where the table is gone.
    """

    def attempt(again: bool) -> None:
        dataset = open_dataset(uri, storage)
        if dataset is None:
            raise TableError(f"{uri}: the table is gone")
        if again and all(dataset.metadata.get(key) == value for key, value in updates.items()):
            return
        options = lance_options(uri, storage)
        lance.LanceDataset.commit(
            dataset, metadata_update(updates), read_version=dataset.version, storage_options=options
        )

    until_landed(uri, attempt)
