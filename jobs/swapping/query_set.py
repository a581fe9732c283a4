"""A user's own queries with their right answers, read from a Parquet file."""

import io
import os
from dataclasses import dataclass

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from obstore.exceptions import BaseError

from operators.base.errors import UserError, clean_message
from operators.storage.redact import reason_of, redact_uri
from operators.storage.stores import StorageOptions, object_store


@dataclass(frozen=True, kw_only=True)
class QuerySet:
    """Queries by text or by image. The lists are as long as each other; each query has one of the two."""

    texts: list[str | None]
    images: list[str | None]
    """Paths or URIs; relative paths are meant from the file's folder."""
    right: list[list[str]]
    """Ids of the right images, at least one for each query."""


def read_query_set(uri: str, storage: StorageOptions) -> QuerySet:
    """The queries of a Parquet file with columns `text` or `image`, or both, and `ids`. Raises `UserError` with the
    column or the row that is wrong."""
    where = f"queries {redact_uri(uri)}"
    try:
        store, key = object_store(os.path.expanduser(uri), storage)
        rows = pq.read_table(io.BytesIO(bytes(obstore.get(store, key).bytes())))
    except FileNotFoundError:
        raise UserError(f"{where}: no such file") from None
    except BaseError as error:
        raise UserError(f"{where}: cannot be read: {reason_of(error)}") from None
    except pa.ArrowException as error:
        raise UserError(f"{where}: is no Parquet file that can be read: {clean_message(str(error))}") from None
    _check_columns(where, rows.schema)
    texts, images = (_texts(rows, name) for name in ("text", "image"))
    right = [[str(each) for each in ids or () if each is not None] for ids in rows["ids"].to_pylist()]
    for at, (text, image, ids) in enumerate(zip(texts, images, right, strict=True)):
        if (text is None) == (image is None):
            raise UserError(f"{where}: row {at} has {'neither' if text is None else 'both'} text and image; give one")
        if not ids:
            raise UserError(f"{where}: row {at} has no right ids, so no answer to it can be judged; leave it out")
    if not right:
        raise UserError(f"{where}: has no rows")
    return QuerySet(texts=texts, images=[image and _from_folder(image, uri) for image in images], right=right)


def _check_columns(where: str, schema: pa.Schema) -> None:
    wanted = "it needs `ids`, lists of the right images' ids, and `text` or `image`"
    listed = ", ".join(schema.names)
    if "ids" not in schema.names or not {"text", "image"} & set(schema.names):
        raise UserError(f"{where}: has the columns {listed}; {wanted}")
    for name in {"text", "image"} & set(schema.names):
        kind = schema.field(name).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
            raise UserError(f"{where}: column {name} is {kind}; it must be text")
    kind = schema.field("ids").type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise UserError(f"{where}: column ids is {kind}; it must be a list: several images may be right")


def _texts(rows: pa.Table, name: str) -> list[str | None]:
    found: list[str | None] = rows[name].to_pylist() if name in rows.column_names else [None] * len(rows)
    return found


def _from_folder(image: str, queries: str) -> str:
    if "://" in image or image.startswith(("/", "~")):
        return image
    return f"{queries.rpartition('/')[0] or '.'}/{image}"
