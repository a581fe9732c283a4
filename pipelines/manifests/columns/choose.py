"""The columns that a run uses of Parquet files: which they are, and their types in the table."""

from collections.abc import Sequence

import pyarrow as pa

from operators.storage.stores import StorageOptions
from pipelines.manifests.columns.hive import columns_in_path
from pipelines.manifests.columns.ids import is_rewritten
from pipelines.manifests.columns.types import ColumnTypes
from pipelines.manifests.files import SourceFile
from pipelines.manifests.kept_names import check_names, kept_as
from pipelines.manifests.kept_types import is_text, stored_column_type
from pipelines.manifests.manifest import (
    URI_COLUMNS,
    Columns,
    SourceConfig,
    SourceError,
    check_columns,
    choose_uri_column,
    require_column,
)
from pipelines.manifests.parquet import Footer, first_with_rows


def choose_columns(
    files: Sequence[SourceFile], footers: Sequence[Footer], config: SourceConfig, storage: StorageOptions
) -> Columns:
    """The columns to read, checked in every file that has rows. Raises `SourceError` where one is missing, or has types
    that no type can hold."""
    with_rows = [pair for pair in zip(files, footers, strict=True) if pair[1].rows]
    types = ColumnTypes(with_rows or [(files[0], footers[0])], storage)
    schema, where = types.schema, types.where
    image = _choose_image_column(types, config)
    uri = None if image is not None and config.uri_column is None else _choose_uri_column(types, config)
    check_names(config)
    in_path = columns_in_path(schema.names, types.files, config)
    check_columns(schema.names, config, where, in_path)
    if uri is not None:
        types.check_uri(uri)
    id_type = None if config.id_column is None else types.check_id(config.id_column)
    stored = {name: pa.string() if name in in_path else types.stored_type(name) for name in config.keep}
    called = kept_as(config)
    kept = tuple(pa.field(called[name], stored[name]) for name in config.keep)
    renamed = tuple((called[name], name) for name in config.keep if called[name] != name)
    return Columns(
        uri=uri, image=image, id=config.id_column, id_type=id_type, kept=kept, in_path=in_path, renamed=renamed
    )


def digested_as(kind: str, columns: Columns) -> str:
    """The kind of a source in its digest. Ids that earlier versions wrote otherwise are in it: no run of theirs is gone
    on with."""
    rewritten = columns.id_type is not None and is_rewritten(columns.id_type)
    return f"{kind} ids 2" if rewritten else kind


def _choose_uri_column(types: ColumnTypes, config: SourceConfig) -> str:
    """Raises `SourceError`, which names the columns of bytes too: one of those may be what is meant."""
    try:
        return choose_uri_column(types.schema.names, config, types.where)
    except SourceError as error:
        holding = [field.name for field in types.schema if _bytes_type(field.type) is not None]
        if config.uri_column is not None or not holding:
            raise
        what = f"holds the images' bytes ({', '.join(holding)}): --set source.bytes_column={holding[0]}"
        raise SourceError(f"{error}; or the one that {what}") from None


def _choose_image_column(types: ColumnTypes, config: SourceConfig) -> pa.Field | None:
    """The column with the images' bytes: the one that is named, or where nothing names a URI, the only struct of
    `bytes` and `path`, as Hugging Face writes images. Raises `SourceError` where the named one has no bytes."""
    schema, name = types.schema, config.bytes_column
    if name is not None:
        require_column(name, schema.names, "bytes_column", types.where)
        kind = types.common_type(name)
        if _bytes_type(kind) is None:
            raise SourceError(
                f"{types.where}: bytes_column {name!r} is {kind}; images' bytes are binary, or the field `bytes` of a "
                "struct"
            )
        return schema.field(name).with_type(kind)
    if config.uri_column is not None or set(URI_COLUMNS) & set(schema.names):
        return None
    found = [field for field in schema if pa.types.is_struct(field.type) and _has_image(field.type)]
    return found[0].with_type(types.common_type(found[0].name)) if len(found) == 1 else None


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
    others = [f.name for f in first_with_rows(footers).schema if pa.types.is_struct(f.type) and _has_image(f.type)]
    return tuple(
        f"column {name!r} holds images' bytes and is not read: they are fetched by {columns.uri!r}. "
        f"source.bytes_column={name} takes them from there"
        for name in others
    )


def type_notices(footers: Sequence[Footer], config: SourceConfig) -> tuple[str, ...]:
    """A line for each kept column that the table stores as another type than the manifest has."""
    schema = first_with_rows(footers).schema
    kinds = {name: schema.field(name).type for name in config.keep if name in schema.names}
    return tuple(
        f"column {name!r} is stored as {stored_column_type(kind)}, since Lance cannot hold {kind}"
        for name, kind in kinds.items()
        if not is_text(kind) and not pa.types.is_dictionary(kind) and stored_column_type(kind) != kind
    )
