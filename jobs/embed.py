"""`pixlake embed`: a source of images into a vector table; the same command again resumes, or does nothing."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

from jobs.config.embed import EmbedConfig, load
from jobs.embedding.known_manifest import known_manifest
from jobs.embedding.plan import check_cluster, plan, prepared_beginning
from jobs.embedding.prepare import prepare
from jobs.embedding.prepared import Prepared
from jobs.embedding.progress import RunProgress
from jobs.embedding.report import report_of_finished
from jobs.embedding.run import EmbedRun
from jobs.reports.run_report import Report, store_run_file, summary
from jobs.session.interrupts import Interrupts
from operators.api.options import ApiError
from operators.base.counted import counted
from operators.storage.uris import from_anywhere
from pipelines.balance.choose import Choice
from pipelines.balance.settle import PILOT_ROWS
from pipelines.ledger.entries import finished_entry, read_entries
from pipelines.table.errors import RefusedError
from pipelines.table.names import TableNames
from pipelines.table.open import drop_tables, open_existing
from pipelines.table.table import Table

__all__ = ["EmbedConfig", "Report", "load", "plan", "run", "summary"]

MANY_ROWS = 10**12
"""Enough for Ray, whatever one of them costs."""


def run(config: EmbedConfig) -> Report:
    """Embed what is not embedded yet. Raises `UserError` for what a user can mend; an interruption is a report.

    Configuration and report are stored under `NAME__runs/RUN_ID/`. Where nothing is left to do, nothing is written.
    """
    # The record of the run, which a refresh reads, must not depend on where it was started.
    source = config.source.model_copy(update={"uri": from_anywhere(config.source.uri)})
    config = config.model_copy(update={"source": source})
    names = TableNames.from_table(config.table)
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    resolved = None
    with Interrupts() as interrupts, RunProgress() as progress:
        if config.warning:
            progress.note(config.warning)
        if config.overwrite:
            # A mistyped source or setting must show before anything is deleted.
            with prepared_beginning(config) as checked:
                check_cluster(checked, _most_demanding(checked))
            resolved = checked.columns
            _overwrite(config, names)
        models = ", ".join(model.name for model in config.columns.values())
        progress.phase(f"opening the source and {models}")
        prepared = prepare(
            config, config.source, f"{names.runs}/manifests", _show_rows(progress), resolved, progress.phase
        )
        for notice in prepared.manifest.notices:
            progress.note(notice)
        prepared = known_manifest(prepared, progress.note)
        finished = _finished(prepared, progress)
        if finished:
            return finished
        # From here on another run on the table is stopped, so what can be refused is refused before.
        if prepared.rows >= PILOT_ROWS:
            progress.phase("fetching and decoding the first images, to see what one costs")
        choice = prepared.settle().choice
        check_cluster(prepared, choice)
        progress.phase(f"opening {config.table}: which rows are done")
        embed_run = EmbedRun(prepared, choice, run_id, interrupts, progress)
        store_run_file(config, run_id, "config.json", names, config.storage_of_table)
        with interrupts.deferred():
            report = embed_run.go()
        try:
            store_run_file(report, run_id, "report.json", names, config.storage_of_table)
        except OSError as error:
            # The report's own status stands: it is about the tables.
            progress.note(f"the report of run {run_id} is not stored: {error}")
    if embed_run.refusal:
        raise ApiError(embed_run.refusal)
    return report


def _finished(prepared: Prepared, progress: RunProgress) -> Report | None:
    """The report, if the table has all of the manifest and nothing else was asked for; else None."""
    config, existing = prepared.config, prepared.existing
    if existing is None or config.retry_failed or config.abandon:
        return None
    entries = read_entries(existing.metadata, existing.failures_metadata)
    entry = finished_entry(entries, prepared.manifest.digest, config.source.limit)
    return report_of_finished(prepared, entry, progress.note) if entry else None


def _most_demanding(prepared: Prepared) -> Choice:
    """The choice by which the cluster is checked before rows are counted and timed: Ray, with its largest blocks, where
    there are not certainly too few rows for it."""
    certain = prepared.all_counted and prepared.rows < PILOT_ROWS
    return prepared.settle(with_pilot=False, rows=None if certain else MANY_ROWS).choice


def _show_rows(progress: RunProgress) -> Callable[[int], None]:
    return lambda rows: progress.phase(f"writing the manifest as Parquet: {counted(rows, 'row')}")


def _overwrite(config: EmbedConfig, names: TableNames) -> None:
    table = Table(names=names, storage=config.storage_of_table)
    existing = open_existing(table)
    if existing is not None and not existing.made_by_pixlake and config.overwrite < 2:
        raise RefusedError(
            f"table {config.table}: was not made by Pixlake. Give --overwrite twice if it is really to be deleted, or "
            "choose another name"
        )
    drop_tables(table)
