"""How the images of a table's rows are fetched again, to be looked at."""

from contextlib import suppress

from jobs.config.read import ReadConfig
from jobs.swapping.recorded import recorded_roots
from operators.base.errors import UserError
from operators.fetching.options import FetchOptions
from pipelines.ledger.entries import read_entries

_RETRY_S = 5.0
_ATTEMPTS = 2
"""Somebody waits: an image that is slow or away gives no picture."""


def fetch_to_look(config: ReadConfig, fetch: FetchOptions) -> FetchOptions:
    """The settings with the local folders of the table's own sources allowed, and little patience."""
    metadata = [config.stored.latest().metadata]
    with suppress(UserError):
        metadata.append(config.stored.latest_failures().metadata)
    entries = read_entries(*map(dict, [*metadata, {}][:2]))
    return fetch.model_copy(
        update={
            "storage": config.storage,
            "allowed_roots": (*fetch.allowed_roots, *recorded_roots(config.stored, entries)),
            "retry_s": min(fetch.retry_s, _RETRY_S),
            "max_attempts": min(fetch.max_attempts, _ATTEMPTS),
        }
    )
