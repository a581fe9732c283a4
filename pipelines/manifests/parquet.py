"""Parquet manifests read in place: the driver reads only their footers."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions, filesystem
from pipelines.manifests.files import SourceFile
from pipelines.manifests.kept_names import check_names, kept_as
from pipelines.manifests.kept_types import KeptTypeError, is_text, stored_column_type
from pipelines.manifests.manifest import (
    URI_COLUMNS,
    Columns,
    Shard,
    SourceConfig,
    SourceError,
    check_columns,
    choose_uri_column,
    require_column,
)

SHARD_ROWS = 262_144
"""Row groups are joined into one shard of up to this many rows; a larger row group is a shard of its own."""
SHARD_BYTES = 128 << 20
"""The same where rows hold images: a shard is read by one task, which holds it."""
_FOOTER_THREADS = 16


@dataclass(frozen=True)
class Footer:
    schema: pa.Schema
    group_rows: tuple[int, ...]
    group_bytes: tuple[int, ...]
    """Bytes of all of a row group's columns, before compression."""
    metadata: Mapping[bytes, bytes]
    """Metadata of the schema."""


def read_footers(files: Sequence[SourceFile], storage: StorageOptions) -> list[Footer]:
    """Schema and row counts of every file, 16 files at a time. Raises `SourceError` for a file that is not Parquet."""
    with ThreadPoolExecutor(_FOOTER_THREADS) as threads:
        return list(threads.map(lambda file: _read_footer(file.uri, storage), files))


def choose_columns(files: Sequence[SourceFile], footers: Sequence[Footer], config: SourceConfig) -> Columns:
    """The columns to read, checked in every file. Raises `SourceError` where one is missing or differs in type."""
    schema, where = footers[0].schema, redact_uri(files[0].uri)
    image = choose_image_column(schema, config, where)
    uri = None if image is not None and config.uri_column is None else choose_uri_column(schema.names, config, where)
    check_names(config)
    check_columns(schema.names, config, where)
    if uri is not None and not is_text(schema.field(uri).type):
        raise SourceError(
            f"{where}: column {uri!r} is {schema.field(uri).type}, not string; name another with uri_column"
        )
    if config.id_column is not None:
        _check_id(schema.field(config.id_column), where)
    types = {name: stored_type(name, schema, where) for name in config.keep}
    used = [name for name in (uri, *config.keep, config.id_column, image and image.name) if name is not None]
    for file, footer in zip(files, footers, strict=True):
        for name in used:
            _check_same(name, schema, where, footer.schema, redact_uri(file.uri))
    called = kept_as(config)
    kept = tuple(pa.field(called[name], types[name]) for name in config.keep)
    renamed = tuple((called[name], name) for name in config.keep if called[name] != name)
    return Columns(uri=uri, image=image, id=config.id_column, kept=kept, renamed=renamed)


def choose_image_column(schema: pa.Schema, config: SourceConfig, where: str) -> pa.Field | None:
    """The column with the images' bytes: the one that is named, or where nothing names a URI, the only struct of
    `bytes` and `path`, as Hugging Face writes images. Raises `SourceError` where the named one has no bytes."""
    name = config.bytes_column
    if name is not None:
        require_column(name, schema.names, "bytes_column", where)
        if _bytes_type(schema.field(name).type) is None:
            raise SourceError(
                f"{where}: bytes_column {name!r} is {schema.field(name).type}; images' bytes are binary, or the field "
                "`bytes` of a struct"
            )
        return schema.field(name)
    if config.uri_column is not None or set(URI_COLUMNS) & set(schema.names):
        return None
    found = [field for field in schema if pa.types.is_struct(field.type) and _has_image(field.type)]
    return found[0] if len(found) == 1 else None


def _has_image(kind: pa.StructType) -> bool:
    return {kind.field(at).name for at in range(kind.num_fields)} == {"bytes", "path"} and _bytes_type(kind) is not None


def _bytes_type(kind: pa.DataType) -> pa.DataType | None:
    """The type of the images' bytes in a column of the type; None where it holds none."""
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return None if at < 0 else _bytes_type(kind.field(at).type)
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return kind if any(test(kind) for test in tests) else None


def image_notices(columns: Columns, footers: Sequence[Footer]) -> tuple[str, ...]:
    """A line that says where the images' bytes are taken from, or could be."""
    if columns.image is not None:
        return (f"column {columns.image.name!r} holds the images' bytes: none is fetched",)
    others = [f.name for f in footers[0].schema if pa.types.is_struct(f.type) and _has_image(f.type)]
    return tuple(
        f"column {name!r} holds images' bytes and is not read: they are fetched by {columns.uri!r}. "
        f"source.bytes_column={name} takes them from there"
        for name in others
    )


def plan_shards(
    files: Sequence[SourceFile], footers: Sequence[Footer], *, max_bytes: int | None = None
) -> tuple[Shard, ...]:
    """Contiguous row groups of one file up to `SHARD_ROWS` rows, and `max_bytes`, in file order. Empty row groups make
    no shard."""
    shards: list[Shard] = []
    first_row = 0
    for file, footer in zip(files, footers, strict=True):
        file_row = 0
        for groups, rows in _join_groups(footer, max_bytes):
            shards.append(
                Shard(
                    number=len(shards),
                    path=file.uri,
                    row_groups=groups,
                    first_row=first_row,
                    num_rows=rows,
                    file_row=file_row,
                    version=file.version,
                )
            )
            first_row += rows
            file_row += rows
    return tuple(shards)


def _join_groups(footer: Footer, max_bytes: int | None) -> list[tuple[range, int]]:
    joined: list[tuple[range, int]] = []
    start, rows, size = 0, 0, 0
    for index, (count, held) in enumerate(zip(footer.group_rows, footer.group_bytes, strict=True)):
        if rows and (rows + count > SHARD_ROWS or (max_bytes is not None and size + held > max_bytes)):
            joined.append((range(start, index), rows))
            start, rows, size = index, 0, 0
        rows += count
        size += held
    if rows:
        joined.append((range(start, len(footer.group_rows)), rows))
    return joined


def _read_footer(uri: str, storage: StorageOptions) -> Footer:
    files, path = filesystem(uri, storage)
    try:
        with files.open(path, "rb") as stream:
            metadata = pq.read_metadata(stream)
            schema = metadata.schema.to_arrow_schema()
            groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
            rows, sizes = tuple(g.num_rows for g in groups), tuple(g.total_byte_size for g in groups)
    except pa.ArrowInvalid as error:
        raise SourceError(f"{redact_uri(uri)}: not a whole Parquet file ({error}); write it again") from error
    except FileNotFoundError as error:
        raise SourceError(f"no file {redact_uri(uri)}; check the name and the storage options") from error
    return Footer(schema.remove_metadata(), rows, sizes, schema.metadata or {})


def type_notices(footers: Sequence[Footer], config: SourceConfig) -> tuple[str, ...]:
    """A line for each kept column that the table stores as another type than the manifest has."""
    kinds = {name: footers[0].schema.field(name).type for name in config.keep}
    return tuple(
        f"column {name!r} is stored as {stored_column_type(kind)}, since Lance cannot hold {kind}"
        for name, kind in kinds.items()
        if not is_text(kind) and not pa.types.is_dictionary(kind) and stored_column_type(kind) != kind
    )


def stored_type(name: str, schema: pa.Schema, where: str) -> pa.DataType:
    """The type in which the table holds a column of the file. Raises `SourceError` where it can hold it in none."""
    kind = schema.field(name).type
    try:
        return stored_column_type(kind)
    except KeptTypeError as error:
        raise SourceError(f"{where}: column {name!r} is {kind}: {error}") from None


def _check_same(name: str, schema: pa.Schema, where: str, other: pa.Schema, other_where: str) -> None:
    if other.names.count(name) != 1:
        raise SourceError(
            f"{other_where}: no column {name!r}, which {where} has; columns there: {', '.join(other.names)}. "
            "embed files that differ in runs of their own"
        )
    first, second = (stored_type(name, each, at) for each, at in ((schema, where), (other, other_where)))
    if first != second:
        raise SourceError(
            f"column {name!r} is {first} in {where} and {second} in {other_where}; write the files with one type"
        )


def _check_id(column: pa.Field, where: str) -> None:
    try:
        if not is_text(column.type):
            pa.nulls(0, column.type).cast(pa.string())
    except pa.ArrowNotImplementedError as error:
        raise SourceError(
            f"{where}: id_column {column.name!r} is {column.type}; write it as string or integer"
        ) from error
