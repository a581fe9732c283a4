"""Columns that the names of folders say, as Hive and Spark lay out partitions: `dt=2026-11-28/part-0.parquet`."""

from collections.abc import Sequence
from urllib.parse import unquote

from operators.storage.redact import redact_uri
from pipelines.manifests.files import SourceFile
from pipelines.manifests.manifest import SourceConfig, SourceError

_NULL = "__HIVE_DEFAULT_PARTITION__"


def hive_values(uri: str) -> dict[str, str | None]:
    """The columns in a file's folders, and their values as text. Signs that no folder can be called are percent-encoded
    there."""
    values: dict[str, str | None] = {}
    for folder in uri.split("/")[:-1]:
        name, equals, value = folder.partition("=")
        if name and equals:
            values[unquote(name)] = None if value == _NULL else unquote(value)
    return values


def columns_in_path(names: Sequence[str], files: Sequence[SourceFile], config: SourceConfig) -> tuple[str, ...]:
    """The kept columns that are in the folders' names and not among `names`, those in the first file. Raises
    `SourceError` where a file lies in no such folder."""
    first = hive_values(files[0].uri)
    found = tuple(name for name in config.keep if name not in names and name in first)
    for file in files if found else ():
        missing = [name for name in found if name not in hive_values(file.uri)]
        if missing:
            raise SourceError(
                f"{redact_uri(file.uri)}: lies in no folder {missing[0]}=…, which says the column {missing[0]!r} of "
                f"{redact_uri(files[0].uri)}; name files alike with a glob, or keep other columns"
            )
    return found
