"""The keys of an embed job's file, by name alone: jobs that take such a file do not load what they configure."""

from collections.abc import Collection, Mapping
from typing import Any

EMBED_KEYS = frozenset(
    {
        "abandon",
        "again",
        "api",
        "cluster",
        "decode",
        "deleted",
        "fetch",
        "max_bad_vectors",
        "max_failed",
        "model",
        "models",
        "normalize",
        "overwrite",
        "reduce",
        "regions",
        "retry_failed",
        "reuse",
        "skip_existing",
        "source",
        "storage",
        "store_base",
        "table",
        "table_storage",
        "verbose",
    }
)
"""The fields of `EmbedConfig`, to which a test holds them."""


def without_embed_keys(values: Any, fields: Collection[str]) -> Any:
    """Values for a job of other `fields`: keys of `EmbedConfig` that mean nothing there are dropped, so that the file
    of an embed job serves as it is. Keys that neither knows stay, to be refused as unknown."""
    if not isinstance(values, Mapping):
        return values
    unused = EMBED_KEYS - set(fields)
    return {key: value for key, value in values.items() if key not in unused}
