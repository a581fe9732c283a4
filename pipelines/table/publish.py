"""Commits that are tried until they land: after conflicts, after lost answers, and while storage fails for a while; and
one that has landed where there is no table any more."""

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import lance
import obstore
from obstore.exceptions import BaseError

from operators.storage.no_space import is_no_space
from operators.storage.redact import reason_of
from operators.storage.stores import StorageOptions, lance_options, object_store
from pipelines.table.errors import CommitFailedError, NoSpaceError, TableError
from pipelines.table.fenced_operations import metadata_update
from pipelines.table.table import open_dataset

T = TypeVar("T")

ATTEMPTS = 10
LONGEST_PAUSE_S = 5.0


def until_landed(where: str, attempt: Callable[[bool], T]) -> T:
    """The result of `attempt`, which is called again, after a pause, while it raises an `OSError`: a conflict, a lost
    answer, or storage that fails. Its argument says whether it was called before, and so may have landed unseen.

    Raises `CommitFailedError` after ten attempts, about ten seconds, and `NoSpaceError` after one. Other errors of
    `attempt` pass as they are.
    """
    failure: OSError | None = None
    for number in range(ATTEMPTS):
        if number:
            time.sleep(random.uniform(0, min(LONGEST_PAUSE_S, 0.05 * 2**number)))
        try:
            return attempt(number > 0)
        except OSError as error:
            if is_no_space(error):
                raise NoSpaceError(f"{where}: not committed: {error}") from error
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


def is_left_alone(made: Any, uri: str, storage: StorageOptions) -> bool:
    """Whether the version just made (a Lance dataset) stands alone in its folder, without the first of the files that
    it lists, since the table was moved away a moment before. If so its manifest is deleted, and there is no table any
    more.

    One request where the table has files. Raises `OSError` where the storage fails.
    """
    first = min(made.get_fragments(), key=lambda fragment: fragment.fragment_id, default=None)
    if first is None:
        return False
    store, path = object_store(uri, storage)
    try:
        try:
            obstore.head(store, f"{path}/data/{first.metadata.files[0].path}")
        except FileNotFoundError:
            versions = [each["path"] for each in obstore.list(store, prefix=f"{path}/_versions").collect()]
            if sum(name.endswith(".manifest") for name in versions) > 1:
                # A table with a history that has lost a file: whoever reads it says so.
                return False
            obstore.delete(store, versions)
            return True
    except BaseError as error:
        raise OSError(f"{uri}: cannot be read: {reason_of(error)}") from error
    return False
