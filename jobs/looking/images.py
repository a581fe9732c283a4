"""How the images of a table's rows are read again, to be looked at."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

import pyarrow as pa
from pydantic import ValidationError

from jobs.config.read import ReadConfig
from jobs.reports.stored_files import latest_config, without_secrets
from jobs.swapping.recorded import recorded_roots
from operators.base.columns import URI
from operators.base.errors import UserError
from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from operators.storage.redact import reason_of
from pipelines.ledger.entries import ManifestEntry, read_entries
from pipelines.manifests.manifest import SourceConfig
from pipelines.pictures.make import NoPictureError, PictureMaker, encoded
from pipelines.reread.manifests import OpenedManifest, open_registered
from pipelines.reread.packed import PackedRows, one_a_uri

_RETRY_S = 5.0
_ATTEMPTS = 2
"""Somebody waits: an image that is slow or away gives no picture."""


AT = ("uri", "shard", "row")
"""Columns that say where the image of a row is."""


class SmallJpegs(NamedTuple):
    """Pictures by URI, and why others have none."""

    jpegs: dict[str, bytes]
    problems: dict[str, int]
    """Class of failure -> images."""


def make_jpegs(
    config: ReadConfig,
    rows: pa.Table,
    longest: int,
    fetch: FetchOptions,
    decode: DecodeOptions,
    counted: Callable[[int, int], None],
) -> SmallJpegs:
    """A JPEG of at most `longest` pixels for each URI of the `rows`, which have the columns `AT`. `counted` is called
    with how many are done, and of how many."""
    # Rows of regions share the image of which they are parts.
    rows = one_a_uri(rows)
    entries = read_entries(dict(config.stored.latest().metadata), {})
    made, maker = SmallJpegs({}, {}), PictureMaker(fetch_to_look(config, fetch), decode)
    done = 0
    try:
        for batch in packed_rows(config).rows(rows, entries):
            for uri, picture in zip(batch[URI.name].to_pylist(), maker.make(batch, longest), strict=True):
                if isinstance(picture, NoPictureError):
                    made.problems[picture.kind] = made.problems.get(picture.kind, 0) + 1
                else:
                    made.jpegs[uri] = encoded(picture, "JPEG")
            done += batch.num_rows
            counted(done, rows.num_rows)
    finally:
        maker.close()
    return made


def packed_rows(config: ReadConfig) -> PackedRows:
    """What finds images again that lie within tars and Parquet files."""
    return PackedRows(lambda entry: _opened(config, entry), config.storage)


def _opened(config: ReadConfig, entry: ManifestEntry) -> OpenedManifest:
    try:
        work = f"{config.stored.names.runs}/manifests"
        return open_registered(entry, _recorded_source(config, entry), work, config.storage)
    except (UserError, OSError) as error:
        return OpenedManifest(entry=entry, why_not=reason_of(error))


def _recorded_source(config: ReadConfig, entry: ManifestEntry) -> SourceConfig | None:
    """As a run on the manifest's source had it; None where none has left it, or another release has."""
    entries: Iterable[ManifestEntry] = read_entries(dict(config.stored.latest().metadata), {})
    others = [each.run_id for each in entries if each.source == entry.source]
    stored = latest_config(config.stored, [entry.run_id]) or latest_config(config.stored, others)
    try:
        return None if stored is None else SourceConfig.model_validate(without_secrets(stored.get("source")))
    except ValidationError:
        return None


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
