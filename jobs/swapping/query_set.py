"""A user's own queries with their right answers, by which columns are judged."""

from dataclasses import dataclass

import pyarrow as pa

from jobs.querying.query_file import from_folder_of, read_rows, texts_of
from operators.base.errors import UserError
from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions


@dataclass(frozen=True, kw_only=True)
class QuerySet:
    """Queries by text or by image. The lists are as long as each other; each query has one of the two."""

    texts: list[str | None]
    images: list[str | None]
    """Paths or URIs; relative paths are meant from the file's folder."""
    right: list[list[str]]
    """Ids of the right images, at least one for each query."""


def read_query_set(uri: str, storage: StorageOptions) -> QuerySet:
    """The queries of a file with columns `text` or `image`, or both, and `ids`. Raises `UserError` with the column or
    the row that is wrong."""
    where = f"queries {redact_uri(uri)}"
    rows = read_rows(uri, where, storage)
    _check_columns(where, rows.schema)
    texts, images = (texts_of(rows, name, where) for name in ("text", "image"))
    right = [[str(each) for each in ids or () if each is not None] for ids in rows["ids"].to_pylist()]
    for at, (text, image, ids) in enumerate(zip(texts, images, right, strict=True)):
        if (text is None) == (image is None):
            raise UserError(f"{where}: row {at} has {'neither' if text is None else 'both'} text and image; give one")
        if not ids:
            raise UserError(f"{where}: row {at} has no right ids, so no answer to it can be judged; leave it out")
    return QuerySet(texts=texts, images=[image and from_folder_of(uri, image) for image in images], right=right)


def _check_columns(where: str, schema: pa.Schema) -> None:
    wanted = "it needs `ids`, lists of the right images' ids, and `text` or `image`"
    if "ids" not in schema.names or not {"text", "image"} & set(schema.names):
        raise UserError(f"{where}: has the columns {', '.join(schema.names)}; {wanted}")
    kind = schema.field("ids").type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise UserError(f"{where}: column ids is {kind}; it must be a list: several images may be right")
