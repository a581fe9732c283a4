"""The one thing a store must be able to do: write an object only if nobody else has written it."""

import uuid

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError

from operators.storage.redact import reason_of
from operators.storage.stores import ObjectStore, object_store
from operators.storage.uris import split_uri
from pipelines.table.errors import RefusedError
from pipelines.table.table import Table


def require_conditional_put(table: Table) -> None:
    """Write one small object twice with `If-None-Match: *`. The second write must be refused, or two runs could both
    commit.

    Local file systems link into place and need no probe. Raises `RefusedError`, also where nothing can be written.
    """
    names = table.names
    if split_uri(names.runs)[0] == "file":
        return
    # A retry inside the store's client would meet its own first write: without retries the first put is the first.
    store, key = object_store(f"{names.runs}/probe-{uuid.uuid4().hex}", table.storage, max_retries=0)
    try:
        obstore.put(store, key, b"pixlake", mode="create")
        refused = _refuses_second(store, key)
        obstore.delete(store, key)
    except NotSupportedError:
        refused = False
    except BaseError as error:
        # After its first paragraph the client dumps its own state.
        reason = reason_of(str(error).partition("\n\n")[0])
        raise RefusedError(
            f"{names.database}: cannot write there: {reason}; check bucket, endpoint, region and credentials"
        ) from None
    if not refused:
        raise RefusedError(
            f"{names.database}: the store ignores If-None-Match, so that two runs could overwrite each other's "
            "commits; use a store with conditional writes (AWS S3, GCS, Azure, MinIO, SeaweedFS, R2) or a newer "
            "release of this one"
        )


def _refuses_second(store: ObjectStore, key: str) -> bool:
    try:
        obstore.put(store, key, b"pixlake", mode="create")
    except AlreadyExistsError:
        return True
    return False
