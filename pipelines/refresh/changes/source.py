"""A source as it is now, opened to be compared with a table; or why it cannot be."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
from pyarrow.lib import ArrowException

from operators.base.errors import clean_message
from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions
from pipelines.manifests.files import Listing, unreadable
from pipelines.manifests.kept_names import kept_as
from pipelines.manifests.manifest import Manifest, NoImagesError, OnRows, SourceConfig, SourceError
from pipelines.manifests.open import look_into, open_manifest, open_source, roots_of
from pipelines.manifests.parts import normalized_schema
from pipelines.manifests.tars.listed import check_listed_columns
from pipelines.manifests.vectors.folder import VectorFolder
from pipelines.refresh.changes.changes import VERSION
from pipelines.refresh.changes.source_rows import ended_early, listed_rows, manifest_rows, source_rows_schema
from pipelines.refresh.changes.versions import CONTENT_NAMES, version_texts
from pipelines.table.errors import RefusedError


@dataclass(frozen=True, kw_only=True)
class SourceState:
    """An opened source, with its rows streamed by `batches`, once: tables of `schema`, in the order of the source."""

    uri: str
    """As the user wrote it, secrets masked."""
    kept: tuple[pa.Field, ...]
    version_columns: tuple[str, ...] | None
    """The kept columns, by their names in the table, that say the version; None for a listing, whose etags do."""
    tells_content: bool
    """Whether equal versions mean equal bytes."""
    allowed_roots: tuple[str, ...]
    notices: tuple[str, ...]
    rows: int | None
    """None for a listing: they are counted as they come."""
    batches: Callable[[], Iterator[pa.Table]]
    """Raises `SourceError` where the source cannot be read to its end."""

    @property
    def schema(self) -> pa.Schema:
        return source_rows_schema(self.kept)


def open_state(
    config: SourceConfig,
    images: StorageOptions,
    work_uri: str,
    progress: OnRows | None = None,
    roots: tuple[str, ...] = (),
) -> SourceState:
    """The source's state, of which nothing is read yet but what tells its kind. Line manifests are first written as
    Parquet under `work_uri`.

    Raises `SourceError` where nothing is there, and for sources that cannot be compared with a table.
    """
    if config.limit is not None:
        raise SourceError(
            f"{redact_uri(config.uri)}: source.limit is set, and a refresh compares all of a source with the table: "
            "images beyond the limit would count as deleted. Leave it out"
        )
    opened = open_source(config, images)
    if isinstance(opened, VectorFolder):
        raise _refusal(config, "a folder of ready vectors, which does not say of which version of an image they are")
    try:
        found = look_into(opened)
    except NoImagesError:
        if opened.place.kind not in ("folder", "glob") or config.version_columns:
            raise
        # All that was there is gone, which is for the user to judge.
        return _listing_state(opened, config, empty=True)
    except unreadable() as error:
        raise ended_early(config, 0, None, error) from error
    if found.has_images:
        return _listing_state(opened, config)
    if found.tars:
        raise _refusal(config, "tars, where an image has no version but its tar's: all of a tar that is written again")
    manifest = open_manifest(opened, config, work_uri, progress, roots)
    if manifest.columns.image is not None:
        raise _refusal(config, "Parquet with the images in it, where an image has no version but that of its file")
    return _manifest_state(manifest, config, images)


def _refusal(config: SourceConfig, what: str) -> SourceError:
    return SourceError(
        f"{redact_uri(config.uri)} is {what}; it cannot be compared with a table without reading every image. Embed "
        "what is new with `pixlake embed … --skip-existing`, and take out what is gone with `pixlake delete`"
    )


def _manifest_state(manifest: Manifest, config: SourceConfig, images: StorageOptions) -> SourceState:
    called = kept_as(config)
    kept, versions = manifest.columns.kept, tuple(called[name] for name in config.version_columns)
    _check_texts(kept, versions, manifest.uri)
    return SourceState(
        uri=manifest.uri,
        kept=kept,
        version_columns=versions,
        tells_content=any(name.lower() in CONTENT_NAMES for name in config.version_columns),
        allowed_roots=manifest.allowed_roots,
        notices=manifest.notices,
        rows=manifest.num_rows,
        batches=lambda: manifest_rows(manifest, versions, images),
    )


def _check_texts(kept: tuple[pa.Field, ...], versions: tuple[str, ...], uri: str) -> None:
    for field in kept:
        try:
            pa.nulls(0, field.type).cast(pa.string())
        except ArrowException:
            if field.name in versions:
                raise SourceError(
                    f"{uri}: version column {field.name!r} is {field.type}; a version is a text, a number or a time"
                ) from None


def _listing_state(files: Listing, config: SourceConfig, *, empty: bool = False) -> SourceState:
    if not empty:
        check_listed_columns(files, config)
    kept = tuple(normalized_schema(config).field(name) for name in kept_as(config).values())
    return SourceState(
        uri=redact_uri(config.uri),
        kept=kept,
        version_columns=None,
        tells_content=True,
        allowed_roots=roots_of(files.place),
        notices=(),
        rows=None,
        batches=lambda: listed_rows(files, config, kept),
    )


def in_types_of(schema: pa.Schema, state: SourceState) -> SourceState:
    """The state with its kept columns in the types that a table's columns have, so that they can be compared, and
    written. A column of whole numbers comes as float64 from pandas once one of them is missing. Its batches raise
    `RefusedError` where a value does not fit."""
    wanted = {field.name: schema.field(field.name).type for field in state.kept if field.name in schema.names}
    kept = tuple(field.with_type(wanted.get(field.name, field.type)) for field in state.kept)
    if all(one.type == other.type for one, other in zip(kept, state.kept, strict=True)):
        return state

    def fitted(rows: pa.Table) -> pa.Table:
        for field in kept:
            at = rows.schema.get_field_index(field.name)
            rows = rows.set_column(at, field, as_there(rows[field.name], field))
        if state.version_columns is None:
            return rows
        at = rows.schema.get_field_index(VERSION.name)
        return rows.set_column(at, VERSION, version_texts(rows, state.version_columns))

    return replace(state, kept=kept, batches=lambda: map(fitted, state.batches()))


def as_there(values: pa.ChunkedArray, column: pa.Field) -> pa.ChunkedArray:
    """Values of the source in the type of a table's column. Raises `RefusedError` where they do not fit."""
    if values.type == column.type:
        return values
    try:
        return values.cast(column.type)
    except pa.ArrowException as error:
        raise RefusedError(
            f"{column.name} is {column.type} in the table, and {values.type} in the source now: "
            f"{clean_message(str(error))}. Write it as it was, or leave it out of source.keep"
        ) from None
