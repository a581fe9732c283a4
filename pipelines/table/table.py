"""A table where it lies: opened at its latest version, or at another."""

import lance

from operators.storage.stores import NO_OPTIONS, StorageOptions, lance_options


def open_dataset(uri: str, storage: StorageOptions = NO_OPTIONS) -> "lance.LanceDataset | None":
    """The table at its latest version; None where there is none. Raises `OSError` where the storage fails."""
    try:
        return lance.dataset(uri, storage_options=lance_options(uri, storage))
    except ValueError as error:
        if "not found" in str(error):
            return None
        # Lance raises it for whatever is wrong on opening, storage that fails included.
        raise OSError(f"{uri}: cannot be opened: {error}") from error
