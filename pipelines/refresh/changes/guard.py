"""When a diff is not to be believed: a source that has lost much of what the table has of it may be one that was not
seen whole."""

from collections.abc import Sequence

from operators.base.counted import counted
from pipelines.ledger.entries import ManifestEntry
from pipelines.table.errors import RefusedError
from pipelines.table.table import Table


def check_source_known(table: Table, source: str, entries: Sequence[ManifestEntry]) -> None:
    """Raises `RefusedError` where nothing of the source was ever embedded into the table: all of it would be new."""
    if any(entry.source == source for entry in entries):
        return
    known = ", ".join(dict.fromkeys(entry.source for entry in entries)) or "none"
    raise RefusedError(
        f"table {table}: nothing of {source} is in it, so there is nothing to refresh; sources of the table: {known}. "
        f"`pixlake embed {source} {table}` embeds it; --source names another place of a source that the table has"
    )


def check_most_stays(
    table: Table, source: str, *, seen: int, live: int, deleted: int, examples: Sequence[str], max_deleted: float
) -> None:
    """Raises `RefusedError` where more than the share `max_deleted` of the `live` images would go."""
    if deleted <= max_deleted * live:
        return
    what = "the source is empty" if not seen else f"the source has {counted(seen, 'image')} now"
    raise RefusedError(
        f"table {table}: {deleted:,} of {counted(live, 'image')} ({deleted / live:.1%}) are gone from {source}, and "
        f"more than --max-deleted {max_deleted:g} are not taken for deleted: {what}. Gone are {', '.join(examples)}"
        f"{', …' if deleted > len(examples) else ''}. Nothing was changed. Look whether the source is whole (another "
        f"prefix, a half-written manifest, a folder that is not mounted); if it is, --max-deleted "
        f"{min(1.0, -(-deleted * 100 // live) / 100):g} lets them go"
    )
