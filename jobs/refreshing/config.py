"""What `pixlake refresh` can be told, and the embed job that a table's own record and that make together."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from jobs.config.embed import EmbedConfig
from jobs.config.keys import EMBED_KEYS
from jobs.config.load import load_config, merge
from jobs.reports.remedies import SETTINGS_OF
from jobs.reports.stored_files import latest_config, without_secrets
from operators.base.errors import ErrorClass
from operators.storage.redact import redact_uri
from operators.storage.stores import NO_OPTIONS, StorageOptions
from operators.storage.uris import from_anywhere
from pipelines.commits.committer import Committer
from pipelines.ledger.entries import ManifestEntry, read_entries
from pipelines.space.field import read_settings
from pipelines.table.errors import RefusedError
from pipelines.table.table import Table

WhenGone = Literal["keep", "mark", "drop"]

_OF_ONE_RUN = ("abandon", "again", "deleted", "max_failed", "overwrite", "retry_failed", "skip_existing", "verbose")
"""Keys of an embed job that say nothing about a later one."""
_OF_COLUMNS = ("model", "models", "reduce")
"""Keys that say which columns a run fills."""


class RefreshConfig(BaseModel):
    """One refresh. Only `table` must be given: source, models and settings are those of the run that the table has had
    last on the source, but for what is given here. The file of the embed job serves as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    source: dict[str, Any] | None = None
    """Values of the source that are others now; a text is its `uri`: another place of the same source, whose images
    keep their ids by a manifest's id column."""
    storage: StorageOptions = NO_OPTIONS
    """Storage settings for the source and the images, and for the table unless `table_storage` is given."""
    table_storage: StorageOptions | None = None
    settings: dict[str, Any] = {}
    """Any other keys of an embed job, such as `cluster` and `fetch`."""
    deleted: WhenGone = "mark"
    """What becomes of images that are gone from the source: their rows stay as they are, get a time in `deleted_at`,
    which searches leave out, or are deleted."""
    max_deleted: float = Field(default=0.1, ge=0, le=1)
    """Share of the source's images in the table that may be gone from the source; more are taken for a mistake."""
    check_http: bool = False
    """Ask the server of each image that has an http address, and of which the source says nothing new, by its etag."""
    retry_failed: ErrorClass | Literal["all"] | None = None
    """Also try again what failed for a reason that lies in the image or in a setting, all or of one class. Failures
    that may pass, and those that a setting decided which is another one now, are tried again without."""
    tag: str | None = None
    """Name of the state afterwards; default: today (UTC)."""
    keep_versions: str | None = "14d"
    """Versions that stay, a number or an age; tagged ones stay as well. None removes none."""
    upkeep: bool = True
    """Whether fragments, indexes, old versions and the state's tag are seen to at the end; a night does so itself."""
    dry_run: bool = False
    """Find what has changed, and change nothing."""

    @model_validator(mode="before")
    @classmethod
    def _gather_settings(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        own = {key: value for key, value in values.items() if key in cls.model_fields or key not in EMBED_KEYS}
        if own.get("deleted") in ("keep-out", "restore"):
            # What an embed job's file says of rows that were deleted is another thing.
            del own["deleted"]
        others = {key: value for key, value in values.items() if key not in own}
        return {**own, "settings": {**others, **own.get("settings", {})}}

    @field_validator("source", mode="before")
    @classmethod
    def _a_text_is_the_uri(cls, value: Any) -> Any:
        return {"uri": value} if isinstance(value, str) else value

    @field_validator("keep_versions", mode="before")
    @classmethod
    def _a_number_is_a_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @property
    def retried(self) -> frozenset[ErrorClass]:
        """The classes of `retry_failed`."""
        if self.retry_failed is None:
            return frozenset()
        return frozenset(ErrorClass) if self.retry_failed == "all" else frozenset({self.retry_failed})

    @property
    def stored(self) -> Table:
        return Table.of(self.table, self.table_storage or self.storage)


class RecordedJob(BaseModel):
    """The embed job of a table's record."""

    model_config = ConfigDict(frozen=True)

    registered: str
    """The name under which the source's manifests are registered in the table."""
    config: EmbedConfig
    from_record: bool
    """Whether the source's URI is the recorded one, which has no secrets."""
    mendable: frozenset[ErrorClass]
    """Classes of failures that were decided by a setting which is another one now."""


def recorded_job(config: RefreshConfig) -> RecordedJob:
    """The embed job whose changes are to be found. Raises `RefusedError` where the table's record does not say it,
    `ConfigError` for settings that do not fit, `OSError` where storage fails."""
    table = config.stored
    vectors, failures = table.latest(), table.latest_failures()
    entries = read_entries(vectors.metadata, failures.metadata)
    given = dict(config.source or {})
    if "uri" in given:
        given["uri"] = from_anywhere(given["uri"])
    registered = _registered(config.table, entries, given.get("uri"))
    _check_finished(config.table, entries, registered)
    # A restored vector table knows nothing of later runs, which the failures still name: after a swap they had another
    # model than its column.
    known = [entry for entry in read_entries(vectors.metadata, {}) if entry.source == registered]
    runs = [entry.run_id for entry in known or entries if entry.source == registered]
    remembered = vectors.metadata.get(_remembered(registered))
    values = without_secrets(_stored(table, [*runs, remembered] if remembered else runs))
    # Of columns that were changed since, by a model swap, the table itself records the models.
    outdated = (*_OF_ONE_RUN, *(_OF_COLUMNS if read_settings(vectors.schema) else ()))
    values = {key: value for key, value in values.items() if key not in outdated}
    own = {"source": given, "table": config.table, "storage": _set(config.storage)}
    if config.table_storage is not None:
        own["table_storage"] = _set(config.table_storage)
    job = load_config(EmbedConfig, base=merge(merge(values, config.settings), own))
    # Not of a run that was killed: what it was to take again is left.
    complete = [entry.run_id for entry in entries if entry.source == registered and entry.status == "complete"]
    return RecordedJob(
        registered=registered,
        config=job,
        from_record="uri" not in given,
        mendable=_mendable(latest_config(table, complete) or {}, job.model_dump(mode="json")),
    )


def _mendable(before: Mapping[str, Any], now: Mapping[str, Any]) -> frozenset[ErrorClass]:
    """Classes of failures that depend on a setting with another value now. A configuration that lacks the setting, as
    that of another release may, says nothing."""

    def changed(setting: str) -> bool:
        section, name = setting.split(".")
        known = before.get(section) or {}
        return name in known and known[name] != now[section][name]

    return frozenset(each for each, settings in SETTINGS_OF.items() if any(map(changed, settings)))


def _registered(table: str, entries: Sequence[ManifestEntry], given: str | None) -> str:
    sources = list(dict.fromkeys(entry.source for entry in entries if entry.status != "abandoned" or entry.delta))
    # Earlier releases recorded a relative path as it was written.
    known = {from_anywhere(source): source for source in sources}
    if given is not None and redact_uri(given) in known:
        return known[redact_uri(given)]
    if len(sources) == 1:
        return sources[0]
    if not sources:
        raise RefusedError(f"table {table}: has no record of a source; `pixlake embed SOURCE {table}` makes one")
    raise RefusedError(
        f"table {table}: has rows of {len(sources)} sources; name one with --source: {', '.join(sources)}"
    )


def _check_finished(table: str, entries: Sequence[ManifestEntry], registered: str) -> None:
    """Raises `RefusedError` while an embed run of the source has rows left: they would be embedded twice."""
    for entry in entries:
        if entry.source == registered and entry.status == "running" and not entry.delta:
            raise RefusedError(
                f"table {table}: run {entry.run_id} of `pixlake embed` on {registered} is not finished. Run the same "
                f"command to its end first, or give that run up with `pixlake embed … --abandon {entry.run_id}`"
            )


def remember_run(committer: Committer, registered: str, run_id: str) -> None:
    """Note that the configuration of a run without a manifest is the latest on the source. Raises `FencedError`."""
    committer.set_metadata({_remembered(registered): run_id})


def _remembered(registered: str) -> str:
    return f"pixlake.refreshed.{hashlib.sha256(registered.encode()).hexdigest()[:16]}"


def _stored(table: Table, runs: Sequence[str]) -> dict[str, Any]:
    """The configuration of the latest of these runs that has left one."""
    found = latest_config(table, runs)
    if found is None:
        raise RefusedError(
            f"table {table}: the configurations of its runs are gone from {table.names.runs}, so it is not known how "
            "it was made; put them back, or embed into another table"
        )
    return found


def _set(options: StorageOptions) -> dict[str, Any]:
    """The options that were given, secrets in the clear."""
    return {name: getattr(options, name) for name in options.model_fields_set}
