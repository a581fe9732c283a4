"""Before anything is embedded: does the table have this manifest already, under another digest or id by id?"""

from collections.abc import Callable
from dataclasses import replace

from jobs.embedding.prepared import Prepared
from jobs.session.progress import Progress
from operators.base.counted import counted
from operators.storage.redact import redact
from pipelines.ledger.entries import ManifestEntry, finished_entry, is_refreshed, read_entries
from pipelines.manifests.columns.ids import former_texts, is_rewritten
from pipelines.manifests.manifest import SourceError
from pipelines.sources.content_digest import content_digest
from pipelines.sources.sample_ids import ids_held, sample_ids
from pipelines.table.errors import RefusedError


def known_manifest(prepared: Prepared, note: Callable[[str], None]) -> Prepared:
    """The job; where a registered manifest has the same rows in the same places, on that manifest.

    Raises `RefusedError` where the table has the ids in an earlier form, or where the manifest is another one and the
    table has most of its ids through others, unless the user has said what is to become of them.
    """
    existing, manifest = prepared.existing, prepared.manifest
    entries = read_entries(existing.metadata, existing.failures_metadata) if existing is not None else []
    if entries:
        _check_refreshed(prepared, entries)
        _check_former_ids(prepared)
    if not entries or any(entry.digest == manifest.digest for entry in entries):
        return prepared
    same = _same_rows(prepared, entries, note)
    if same is not None:
        note(f"{manifest.uri} was written anew and has the same rows as when run {same.run_id} embedded it")
        return replace(prepared, manifest=replace(manifest, digest=same.digest))
    if not prepared.config.skip_existing:
        _check_ids(prepared, entries, note)
    return prepared


def _check_refreshed(prepared: Prepared, entries: list[ManifestEntry]) -> None:
    """Raises `RefusedError` where refreshes keep the table to the source: rows of its manifests have been replaced, and
    a run on one of them would put images in a second time."""
    config, manifest = prepared.config, prepared.manifest
    if config.skip_existing or config.again or not is_refreshed(entries, manifest.uri):
        return
    if finished_entry(entries, manifest.digest, config.source.limit) is None:
        raise RefusedError(
            f"table {config.table}: is kept to {manifest.uri} by refreshes; `pixlake refresh {config.table}` embeds "
            "what is new and what has changed. Give --skip-existing to embed here only the rows whose ids are new"
        )


def _same_rows(prepared: Prepared, entries: list[ManifestEntry], note: Callable[[str], None]) -> ManifestEntry | None:
    """The registered manifest with the same rows. Rows are read only where one of the same shape is registered."""
    manifest = prepared.manifest
    shape = (manifest.num_rows, len(manifest.shards))
    alike = {e.content: e for e in entries if e.content is not None and (e.rows, e.num_shards) == shape}
    if not alike or not manifest.rows_say_all:
        return None
    note(f"comparing {manifest.uri} with what was embedded: {counted(manifest.num_rows, 'row')}")
    content = content_digest(manifest, prepared.config.storage)
    return None if content is None else alike.get(content)


def content_of(prepared: Prepared, entry: ManifestEntry, progress: Progress) -> str | None:
    """The digest by which the manifest is known should it be written anew; read once more from its rows, where all of
    it is done."""
    manifest = prepared.manifest
    whole = manifest.rows_say_all and manifest.complete and prepared.rows == manifest.num_rows
    if entry.content is not None or not whole:
        return entry.content
    progress.phase(f"reading the manifest's {counted(manifest.num_rows, 'row')}, to know them again")
    try:
        return content_digest(manifest, prepared.config.storage)
    except (SourceError, OSError) as error:
        progress.note(f"the manifest cannot be known again should it be written anew: {redact(str(error))}")
        return None


def _check_former_ids(prepared: Prepared) -> None:
    """Raises `RefusedError` where the table has ids of this manifest in a form that earlier versions gave them."""
    manifest, table = prepared.manifest, prepared.config.table
    kind = manifest.columns.id_type
    if kind is None or not is_rewritten(kind):
        return
    former = former_texts(sample_ids(prepared.pipeline.source, manifest.shards, prepared.rows), kind)
    held = ids_held(prepared.stored, former) if len(former) else 0
    if held:
        raise RefusedError(
            f"table {table}: has {held:,} of {len(former):,} ids that were looked at of {manifest.uri} as earlier "
            f"versions of Pixlake made them of a column of {kind}, such as {former[0].as_py()!r}, and a run would put "
            "the rows in a second time under other ids. Write the column as text with the ids that the table has, or "
            "name another table"
        )


def _check_ids(prepared: Prepared, entries: list[ManifestEntry], note: Callable[[str], None]) -> None:
    manifest, config = prepared.manifest, prepared.config
    unfinished = [e for e in entries if e.source == manifest.uri and e.status == "running"]
    if any(entry.run_id != config.abandon for entry in unfinished):
        # Refused as such once the run is about to begin.
        return
    before = next((e for e in reversed(entries) if e.source == manifest.uri), None)
    held, asked, of_which = _most_held(prepared, before)
    if not held:
        return
    share = "all" if held == asked else f"{held:,} of {asked:,}"
    if held * 2 <= asked or config.again:
        note(
            f"{share} {of_which} of {manifest.uri} are in the table through other manifests, and are embedded once "
            "more; --skip-existing leaves them out"
        )
        return
    changed = (
        f" It, or which of its columns are kept, has changed since run {before.run_id} embedded {before.covered:,} "
        f"rows of it. `pixlake refresh {config.table}` embeds what is new or changed there, and nothing else."
        if before
        else ""
    )
    raise RefusedError(
        f"table {config.table}: another manifest holds {share} {of_which} of {manifest.uri}, and a run would put them "
        f"in a second time.{changed} Give --skip-existing to embed only the rows whose ids are new, --again to embed "
        "every row all the same, or the name of another table"
    )


def _most_held(prepared: Prepared, before: ManifestEntry | None) -> tuple[int, int, str]:
    """(ids in the table, ids asked for, a phrase that names them) over all rows, or over the first `before.covered` of
    them where the table holds a greater share of those: the rest of a source that a limit had cut off, or that has
    grown since it was embedded `before`, says nothing."""
    held, asked, of_which = _held(prepared, prepared.rows, "")
    first = before.covered if before else prepared.rows
    if held * 2 > asked or first >= prepared.rows:
        return held, asked, of_which
    of_first = _held(prepared, first, f" in the first {counted(first, 'row')}")
    return of_first if of_first[0] * asked > held * of_first[1] else (held, asked, of_which)


def _held(prepared: Prepared, rows: int, within: str) -> tuple[int, int, str]:
    ids = sample_ids(prepared.pipeline.source, prepared.manifest.shards, rows)
    held = ids_held(prepared.stored, ids)
    return held, len(ids), ("ids" if len(ids) == rows else "ids that were looked at") + within
