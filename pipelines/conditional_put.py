"""The one thing a store must be able to do: write an object only if nobody else has."""

import uuid

import obstore
from obstore.exceptions import AlreadyExistsError, NotSupportedError

from operators.storage import StorageOptions, object_store
from operators.uris import split_uri
from pipelines.table_errors import RefusedError
from pipelines.table_names import TableNames


def require_conditional_put(names: TableNames, storage: StorageOptions) -> None:
    """Write one small object twice with `If-None-Match: *`; the second must be refused, or two runs could both commit.

    Local file systems link or rename into place and need no probe. Raises `RefusedError`.
    """
    if split_uri(names.runs)[0] == "file":
        return
    # One retry of a write that had landed would be refused as the second is; with no retries the first is the first.
    store, key = object_store(f"{names.runs}/probe-{uuid.uuid4().hex}", storage, max_retries=0)
    try:
        obstore.put(store, key, b"pixlake", mode="create")
        try:
            obstore.put(store, key, b"pixlake", mode="create")
        except AlreadyExistsError:
            return
    except NotSupportedError as error:
        raise RefusedError(_refusal(names)) from error
    finally:
        obstore.delete(store, key)
    raise RefusedError(_refusal(names))


def _refusal(names: TableNames) -> str:
    return (
        f"{names.database}: the store ignores If-None-Match, so that two runs could overwrite each other's commits; "
        "use a store with conditional writes (AWS S3, GCS, Azure, MinIO, SeaweedFS, R2) or a newer release of it"
    )
