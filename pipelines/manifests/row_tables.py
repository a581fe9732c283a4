"""Records and listed files as Arrow tables of one schema: an absolute URI per row, or the reason why there is none."""

from collections.abc import Sequence

import pyarrow as pa

from operators.base.failures import clean_message
from operators.storage.redact import redact_uri
from pipelines.manifests.files import SourceFile
from pipelines.manifests.kept_names import kept_as
from pipelines.manifests.manifest import SourceConfig
from pipelines.manifests.records import Record
from pipelines.manifests.uris import BadUri, check_uri, parent_folder, resolve_uris

ERROR_FIELD = pa.field("error", pa.string())
"""Why the row has no URI, with file and line; null for a good row."""


def normalized_schema(config: SourceConfig) -> pa.Schema:
    """`uri`, `id`, the kept columns as strings, `error`."""
    kept = [pa.field(name, pa.string()) for name in kept_as(config).values()]
    return pa.schema([pa.field("uri", pa.string()), pa.field("id", pa.string()), *kept, ERROR_FIELD])


def record_table(records: Sequence[Record], config: SourceConfig, file_uri: str) -> pa.Table:
    """Records of one file under the normalised schema, URIs made absolute."""
    lines, texts, ids, kept, problems = zip(*records, strict=True)
    reasons = {index: problem for index, problem in enumerate(problems) if problem is not None}
    try:
        column = pa.array(texts, pa.string())
    except UnicodeEncodeError:
        reasons |= {index: "URI is not valid Unicode" for index, text in enumerate(texts) if not _encodes(text)}
        column = pa.array([text if _encodes(text) else None for text in texts], pa.string())
    uris, unresolved = resolve_uris(column, parent_folder(file_uri))
    errors: list[str | None] = [None] * len(records)
    for index, reason in (unresolved | reasons).items():
        errors[index] = clean_message(f"{redact_uri(file_uri)}:{lines[index]}: {reason}")
    columns = [uris, _text_array(ids)]
    columns += [_text_array([values[at] for values in kept]) for at in range(len(config.keep))]
    return pa.Table.from_arrays([*columns, pa.array(errors, pa.string())], schema=normalized_schema(config))


def listing_table(files: Sequence[SourceFile], config: SourceConfig) -> pa.Table:
    """Listed files under the normalised schema. A name that is no URI (not UTF-8, say) makes a failed row."""
    uris: list[str | None] = [file.uri for file in files]
    errors: list[str | None] = [None] * len(files)
    for index, uri in enumerate(uris):
        try:
            check_uri(uri)
        except BadUri as error:
            uris[index], errors[index] = None, clean_message(f"{uri!a}: {error}")
    columns = [pa.array(uris, pa.string()), pa.nulls(len(files), pa.string()), pa.array(errors, pa.string())]
    return pa.Table.from_arrays(columns, schema=normalized_schema(config))


def _encodes(text: str | None) -> bool:
    """False for a lone surrogate, which JSON can spell and UTF-8 cannot."""
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        return False
    return True


def _text_array(values: Sequence[str | None]) -> pa.Array:
    """Strings; a lone surrogate (JSON can spell one) becomes `?`."""
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        cleaned = [None if value is None else value.encode("utf-8", "replace").decode() for value in values]
        return pa.array(cleaned, pa.string())
