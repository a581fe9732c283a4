"""What kept columns are called in the table. Names that it cannot hold, or that would be mistaken, are refused at the
start."""

import re
import shlex
from collections.abc import Collection, Iterator, Sequence

from operators.base.columns import (
    FETCH_FIELDS,
    ID,
    IMAGE_FIELDS,
    POSITION_FIELDS,
    REGION,
    REGION_ID,
    REGIONS,
    RESERVED,
    SECONDS_PREFIX,
    URI,
    pixels_name,
)
from pipelines.manifests.manifest import SourceConfig, SourceError

LANCES_OWN = frozenset({"_rowid", "_rowaddr", "_rowoffset", "_row_created_at_version", "_row_last_updated_at_version"})
"""Lance's own columns: it cannot write a table that has one (Lance 13)."""

OF_A_SEARCH = frozenset({"_distance", "_score", "_relevance_score", "score"})
"""Columns that LanceDB's searches and ours add to their results: a table's own column of that name hides or breaks
them."""

_OURS = [f.name for f in (ID, URI, REGION, REGIONS, REGION_ID, *IMAGE_FIELDS, *FETCH_FIELDS, *POSITION_FIELDS)]


def kept_as(config: SourceConfig) -> dict[str, str]:
    """Kept column of the manifest -> its name in the table, in the order of `keep`."""
    return {name: config.rename.get(name, name) for name in config.keep}


def check_names(config: SourceConfig, vector_columns: Sequence[str] = ()) -> None:
    """Raises `SourceError` where a kept column has a name that no table can hold, that is Pixlake's own or a vector
    column's of this run, or that another column has too. Nothing is read."""
    for name in config.keep:
        if config.keep.count(name) > 1:
            raise SourceError(f"keep names {name!r} twice; once is enough")
    for name in config.rename:
        if name not in config.keep:
            raise SourceError(
                f"rename: {name!r} is no kept column; keep it too (--set 'source.keep=[…]'), or leave the renaming out"
            )
    taken: dict[str, str] = {}
    for name, called in kept_as(config).items():
        reason = _unusable(called, vector_columns)
        if reason is None and called in taken:
            reason = f"is what {taken[called]!r} is called already"
        if reason is not None:
            raise _refused(config, name, called, reason, vector_columns)
        taken[called] = name


def check_unmistakable(config: SourceConfig, vector_columns: Sequence[str], there: Collection[str]) -> None:
    """Raises `SourceError` where a kept column's name would be mistaken for another. Columns that are `there`, in a
    table made before, are not checked."""
    renamed = kept_as(config)
    alike: dict[str, list[str]] = {}
    for each in dict.fromkeys([*_OURS, *vector_columns, *renamed.values()]):
        alike.setdefault(each.lower(), []).append(each)
    for name, called in renamed.items():
        reason = None if called in there else _mistakable(called, alike[called.lower()])
        if reason is not None:
            raise _refused(config, name, called, reason, vector_columns)


def _unusable(name: str, vector_columns: Sequence[str]) -> str | None:
    if not name:
        return "has no letter in it, and a column needs a name"
    if "." in name:
        return "has a dot, which to LanceDB means a field within a column"
    if "`" in name or "\0" in name or name == "*":
        return "is a name by which LanceDB can read no column"
    if name in LANCES_OWN:
        return "is a name that Lance keeps to itself"
    if name in RESERVED or name == "error" or name.startswith(SECONDS_PREFIX):
        return "is a name of Pixlake's own"
    if name in {each for column in vector_columns for each in (column, pixels_name(column))}:
        return "is the name of a column that this run makes"
    return None


def _mistakable(name: str, alike: Sequence[str]) -> str | None:
    if name in OF_A_SEARCH:
        return "is the name of a column that searches add to what they find"
    for other in alike:
        if other != name:
            return f"differs from the column {other!r} in capitals alone, which SQL does not tell apart"
    return None


def _refused(config: SourceConfig, name: str, called: str, reason: str, vector_columns: Sequence[str]) -> SourceError:
    what = repr(name) if called == name else f"{name!r}, renamed to {called!r}"
    others = {each.lower() for each in (*_OURS, *vector_columns, *kept_as(config).values())}
    fit = next(
        new
        for new in _suggested(called)
        if _unusable(new, vector_columns) is None and new not in OF_A_SEARCH and new.lower() not in others
    )
    return SourceError(
        f"keep: {what} {reason}. Call it otherwise in the table: --rename {shlex.quote(f'{name}={fit}')} "
        "(source.rename in a file)"
    )


def _suggested(name: str) -> Iterator[str]:
    plain = re.sub(r"\W+", "_", name).strip("_") or "column"
    yield from (plain, f"manifest_{plain}")
    for number in range(2, 1000):
        yield f"manifest_{plain}_{number}"
