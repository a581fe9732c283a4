"""Folders that are tables of another kind: which of their Parquet files count, and which rows, only that kind's own
library knows."""

import re
from typing import NoReturn

from operators.storage.redact import redact_uri
from pipelines.manifests.files import Place
from pipelines.manifests.manifest import SourceError

_DELTA = re.compile(r"(.*)/_delta_log/[^/]+")
_ICEBERG = re.compile(r"(.*)/metadata/[^/]*\.metadata\.json")


def refuse_lake_table(uri: str, place: Place) -> None:
    """Raises `SourceError` where a file below a folder is the log of a Delta or an Iceberg table, with the line that
    makes a manifest of the table."""
    if place.kind != "folder":
        return
    below = uri[len(place.uri) :]
    if found := _DELTA.fullmatch(below):
        root = redact_uri(place.uri + found[1])
        rows = f"deltalake.DeltaTable({root!r}).to_pyarrow_table()"
        _refuse(root, "a Delta table", rows, f"{root}/**/*.parquet")
    if found := _ICEBERG.fullmatch(below):
        root = redact_uri(place.uri + found[1])
        newest = f"{root}/metadata/NEWEST.metadata.json"
        rows = f"pyiceberg.table.StaticTable.from_metadata({newest!r}).scan().to_arrow()"
        _refuse(root, "an Iceberg table", rows, f"{root}/data/**/*.parquet")


def _refuse(root: str, what: str, rows: str, files: str) -> NoReturn:
    raise SourceError(
        f"{root} is {what}, and its Parquet files also hold rows that were deleted or replaced since. Write the rows "
        f"that it has now as a manifest, and name that: pyarrow.parquet.write_table({rows}, 'images.parquet'). Where "
        f"no row was ever deleted or replaced, its files can be named by themselves: '{files}'"
    )
