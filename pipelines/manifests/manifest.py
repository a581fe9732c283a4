"""What a source is once it is open: shards with fixed positions, as plain data that workers can be sent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_serializer, model_validator

from operators.base.columns import RESERVED
from operators.base.errors import UserError
from operators.models.families import IMPORTED
from operators.models.spec import ModelDescription, ModelSpec, Precision
from operators.pixels.preprocess import Preprocess
from operators.storage.redact import redact_uri

URI_COLUMNS = ("uri", "url", "image_path")
"""Columns in which the URI is looked for when none is named, first match first."""

OnRows = Callable[[int], None]
"""Called with the number of rows written so far while a manifest is normalised."""


class SourceError(UserError):
    """The source cannot be read as asked; the message says what was wrong, where, and what to do."""


class SourceMissingError(SourceError):
    """There is no such file, folder or bucket: to wait does not help."""


class NoImagesError(SourceError):
    """The place is there, and has neither an image nor a tar or a manifest."""


class VectorsConfig(BaseModel):
    """What ready vectors are. Vectors that differ in any of these fields never share a column."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1)
    """Any label for the model that made them and how it was used."""
    weights_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    precision: Precision | None = None

    def record(self, dim: int) -> dict[str, Any]:
        """The space of these vectors, in place of all that is recorded for Pixlake's own models."""
        return {"family": IMPORTED, **self.model_dump(mode="json"), "dim": dim}

    def description(self, dim: int) -> ModelDescription:
        """The description of their model. No image was seen: the preprocessing is of 0 x 0 pixels, and words cannot be
        embedded."""
        return ModelDescription(
            spec=ModelSpec(name=self.model, family=IMPORTED, architecture=self.model, sha256=self.weights_sha256),
            dim=dim,
            preprocess=Preprocess.square_pixels(0, "squash"),
            network=self.model,
            weights_sha256=self.weights_sha256 or "",
            text=False,
            num_parameters=0,
        )


_LISTS_OF_NAMES: tuple[tuple[str, type], ...] = (("version_columns", tuple), ("keep", tuple), ("rename", dict))


class SourceConfig(BaseModel):
    """Which images to embed. `docs/manifests.md` explains every field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    """A manifest, a tar, a glob, a folder or bucket prefix, or one image."""
    uri_column: str | None = None
    """Default: `uri`, else `url`, else `image_path`."""
    bytes_column: str | None = None
    """A Parquet column that holds the images' bytes: binary, or a struct with a field `bytes`. Default: the only
    struct of `bytes` and `path`, in files without a column of URIs."""
    id_column: str | None = None
    """Default: the id is the xxh3-128 of the URI, in hex."""
    keep: tuple[str, ...] = ()
    """Manifest columns to carry into the table."""
    rename: dict[str, str] = {}
    """Kept column -> its name in the table, where that differs."""
    version_columns: tuple[str, ...] = ()
    """Manifest columns that say which version of its image a row means, for refreshes: `etag`, `updated_at`. They are
    kept columns too; `etag`, `sha256` and other names of Pixlake's own are called `source_<name>` in the table, unless
    they are renamed."""
    csv_escape: str | None = Field(default=None, pattern=r"^[^\s\"\w,]$")
    """What stands before a quote within a quoted field of CSV; Spark writes a backslash. Default: quotes are
    doubled."""
    limit: int | None = Field(default=None, ge=1)
    vectors: VectorsConfig | None = None
    """What the vectors of a vector folder are, where the folder itself does not say."""
    rows_per_shard: int = Field(default=65_536, ge=1, le=16_777_216)
    """Rows in each part of a normalised manifest, 8,192 at most for tars. A Parquet manifest has its row groups
    instead."""

    @model_validator(mode="before")
    @classmethod
    def _keep_versions(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        versions, keep, rename = (values.get(name) or kind() for name, kind in _LISTS_OF_NAMES)
        if not isinstance(versions, list | tuple) or not isinstance(keep, list | tuple) or not isinstance(rename, dict):
            return values
        keep = (*keep, *(name for name in dict.fromkeys(versions) if name not in keep))
        rename = {name: f"source_{name}" for name in versions if name in RESERVED} | rename
        return {**values, "keep": keep, "rename": rename}

    @field_serializer("uri", when_used="json")
    def _without_secrets(self, uri: str) -> str:
        """The URI as JSON has it, secrets masked: many may read what is stored beside the table and in reports."""
        return redact_uri(uri)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Contiguous row groups of one Parquet file."""

    number: int
    """0-based within the manifest."""
    path: str
    row_groups: range
    first_row: int
    """Number of its first row within the manifest."""
    num_rows: int
    file_row: int = 0
    """Number of its first row within its file."""
    version: str | None = None
    """`size-etag` or `size-mtime_ns` of the file when it was opened; None for a file that this run wrote itself."""
    num_bytes: int = 0
    """Of all its columns before compression; 0 for a file that this run wrote itself, whose row groups are small."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns that a source uses, by their names in its files: what a worker must know beside the shard."""

    uri: str | None = "uri"
    """None where rows hold images and no URI: a row is called by its file and its number in it."""
    image: pa.Field | None = None
    """The column with the images' bytes, as the files have it."""
    id: str | None = None
    id_type: pa.DataType | None = None
    """Of the ids in Parquet files; None where there are none, or where they are text already."""
    kept: tuple[pa.Field, ...] = ()
    """Kept columns with the names and types that they have in the table."""
    in_path: tuple[str, ...] = ()
    """Kept columns that the names of a file's folders say, by the names that they have there."""
    renamed: tuple[tuple[str, str], ...] = ()
    """(name in the table, name in the files) of kept columns that are renamed."""
    resolved: bool = False
    """True where the files hold absolute URIs, and in `error` why a row has none."""
    packed: bool = False
    """True where they say in `packed_in` what holds each image's bytes."""
    compared: bool = False
    """True where they say, with `KNOWN_SHA256` and `SOURCE_VERSION`, what the table has of each image and what the
    source says of it."""

    @property
    def kept_names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.kept)

    def in_files(self, kept: str) -> str:
        """A table column's name in the files."""
        return dict(self.renamed).get(kept, kept)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """An open source. Rows, shards and digest are a pure function of the source's files."""

    digest: str
    """sha256 in hex of the files (URI, size, etag or mtime) and the columns used; the limit is no part of it."""
    uri: str
    """The source as the user wrote it, secrets masked."""
    shards: tuple[Shard, ...]
    num_rows: int
    """Rows in `shards`; the limit is not applied."""
    complete: bool = True
    """False where a limit ended the normalisation early: the source may hold more shards than these."""
    rows_say_all: bool = True
    """False for a listing, where the files behind the rows are what counts: equal rows do not make an equal
    manifest."""
    columns: Columns = field(default_factory=Columns)
    allowed_roots: tuple[str, ...] = ()
    """Local folders from which this source's images may be read; empty for a source in an object store."""
    notices: tuple[str, ...] = ()
    """What the user should know, one line each: files that were left out."""


def choose_uri_column(names: list[str], config: SourceConfig, where: str) -> str:
    """The column that holds the URI. Raises `SourceError` naming the columns there and the nearest name."""
    if config.uri_column is not None:
        return require_column(config.uri_column, names, "uri_column", where)
    for name in URI_COLUMNS:
        if name in names:
            return name
    raise SourceError(
        f"{where}: no column {', '.join(URI_COLUMNS)}; columns there: {_listed(names)}. "
        "Name the one that holds the URI: --set source.uri_column=COLUMN"
    )


def check_columns(names: list[str], config: SourceConfig, where: str, in_path: Sequence[str] = ()) -> None:
    """Raises `SourceError` where the id column or a kept column is missing or there twice; those `in_path` are said
    elsewhere."""
    if config.id_column is not None:
        require_column(config.id_column, names, "id_column", where)
    for name in sorted(set(config.keep) - set(in_path)):
        require_column(name, names, "keep", where)


def refuse_columns(config: SourceConfig, what: str) -> None:
    """Raises `SourceError` where columns are named for a source that has none."""
    for option in ("version_columns", "uri_column", "id_column", "keep", "rename"):
        if getattr(config, option):
            raise SourceError(
                f"{option} is set, but {what} has no columns; leave it out, or give a manifest with columns"
            )


def require_column(name: str, names: list[str], option: str, where: str) -> str:
    """The name, if a column has it. Raises `SourceError` naming the columns there and the nearest name."""
    if names.count(name) == 1:
        return name
    if name in names:
        raise SourceError(f"{where}: {option} {name!r} is there {names.count(name)} times; rename all but one")
    near = get_close_matches(name, names, 1, 0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise SourceError(f"{where}: no column {name!r} ({option}); columns there: {_listed(names)}{hint}")


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:20]) or "none"
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown
