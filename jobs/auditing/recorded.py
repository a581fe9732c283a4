"""The embed job that a run's stored configuration, and what the audit was told, make together."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from jobs.config.embed import EmbedConfig
from jobs.config.load import load_config
from jobs.config.model_names import ModelConfig
from jobs.config.read import ClusterReadConfig
from jobs.reports.stored_files import latest_config, without_secrets
from operators.api.options import ApiOptions
from operators.fetching.options import FetchOptions
from pipelines.ledger.entries import ManifestEntry
from pipelines.space.field import read_settings

OF_THE_ROWS = ("source", "decode", "regions", "normalize", "store_base", "reuse")
"""Keys of a run's configuration that say what its rows are."""
_MODELS = ("model", "models")
"""Not taken where the table records its own, which it does once it was swapped."""


class AuditJobConfig(ClusterReadConfig):
    """How images are fetched and embedded again, where that is not as the table's runs did it."""

    fetch: FetchOptions | None = None
    api: ApiOptions | None = None


def recorded_job(
    config: AuditJobConfig, schema: pa.Schema, entries: Sequence[ManifestEntry], entry: ManifestEntry
) -> EmbedConfig | None:
    """The job that embeds rows of a manifest as they were embedded; None where no run on its source has left a
    configuration. Raises `ConfigError` for one that this release does not read, `OSError`."""
    others = [each.run_id for each in entries if each.source == entry.source]
    stored = latest_config(config.stored, [entry.run_id]) or latest_config(config.stored, others)
    if stored is None:
        return None
    given: dict[str, Any] = {"table": config.table, "storage": config.storage, "cluster": config.cluster}
    if config.table_storage is not None:
        given["table_storage"] = config.table_storage
    if config.api is not None:
        given["api"] = config.api
    wanted = (*OF_THE_ROWS, "fetch", "api", *(() if read_settings(schema) else _MODELS))
    values = {key: value for key, value in without_secrets(stored).items() if key in wanted}
    if config.fetch is not None:
        given["fetch"] = config.fetch
        values.pop("fetch", None)
    return load_config(EmbedConfig, base={**values, **given})


def for_ready_vectors(job: EmbedConfig) -> EmbedConfig:
    """The job without models, which ready vectors have none of."""
    return job.model_copy(update={"model": ModelConfig(), "models": {}, "reduce": {}})
