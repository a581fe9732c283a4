"""Small files of a folder copied to another one, on local disk or in a bucket."""

import obstore
from obstore.exceptions import BaseError

from operators.storage.redact import reason_of
from operators.storage.stores import StorageOptions, object_store


def copy_files(folder: str, to: str, storage: StorageOptions, endings: tuple[str, ...] = ("",)) -> int:
    """Copy the files below `folder` with these endings; gives how many. Doing it again is harmless. Raises
    `OSError`."""
    (store, prefix), (target, beginning) = object_store(folder, storage), object_store(to, storage)
    copied = 0
    try:
        for page in obstore.list(store, prefix=prefix):
            for each in page:
                below = each["path"].removeprefix(prefix).lstrip("/")
                if below.endswith(endings):
                    obstore.put(target, f"{beginning}/{below}", bytes(obstore.get(store, each["path"]).bytes()))
                    copied += 1
    except BaseError as error:
        raise OSError(f"{folder}: cannot be copied to {to}: {reason_of(error)}") from error
    return copied
