"""The report of a run, from its plan, its ledger and its tally."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jobs.embedding.deleted_rows import DeletedRows
from jobs.embedding.prepared import Prepared
from jobs.reports.frequent_failure import FrequentFailure, exceeds, most_frequent
from jobs.reports.run_report import Report, StageReport, Status
from jobs.reports.tally import Tally
from pipelines.ledger.accounts import take_account
from pipelines.ledger.entries import ManifestEntry, is_refreshed, read_entries
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.takedowns import come_back
from pipelines.run.quota import spend_usd
from pipelines.run.stage import Stage
from pipelines.sources.strangers import leave_out_strangers
from pipelines.space.record import space_digest
from pipelines.table.table import open_dataset


def build_report(
    prepared: Prepared,
    ledger: Ledger,
    tally: Tally,
    *,
    run_id: str,
    status: Status,
    message: str,
    stages: Sequence[Stage],
    commits: int,
    versions: Mapping[str, int],
    notices: Sequence[str],
    over: bool = True,
    many_bad_vectors: bool = False,
) -> Report:
    """`over`: not for a run that still goes on, of which the failures table is not read."""
    seconds = tally.running_seconds
    failed = _failures_table(prepared) if over else None
    refreshed = failed is not None and is_refreshed(read_entries({}, failed.metadata), prepared.manifest.uri)
    return Report(
        status=status,
        message=message,
        run_id=run_id,
        table=prepared.config.table,
        source=prepared.manifest.uri,
        manifest_digest=prepared.manifest.digest,
        rows=prepared.rows,
        vectors=ledger.vectors.count,
        failures=ledger.failures.count,
        skipped=ledger.skipped.count,
        deleted=ledger.deleted.count,
        embedded_now=tally.vectors,
        failed_now=tally.failures,
        reused=tally.reused,
        failures_by_class=dict(tally.failure_counts),
        seconds=seconds,
        startup_seconds=tally.startup_seconds,
        images_per_s=tally.published_rows / seconds if seconds else 0.0,
        bound_by=tally.busiest(tuple(stages)),
        stages=_stage_reports(stages, tally),
        image_bytes=tally.size_bytes,
        written_bytes=tally.written_bytes,
        requests_per_image=tally.requests / tally.seen if tally.seen else None,
        api_requests=tally.api.requests if tally.api else None,
        api_spend_usd=spend_usd(prepared.pipeline, tally.api.billed) if tally.api else None,
        commits=commits,
        versions=dict(versions),
        space_digests={column: space_digest(record) for column, record in prepared.records.items()},
        config=prepared.config.model_dump(mode="json"),
        most_frequent_failure=_why_most_failed(prepared, ledger, failed, refreshed=refreshed),
        refreshed=refreshed,
        many_bad_vectors=many_bad_vectors,
        notices=[*notices, *map(tally.about_extra, sorted(tally.extra_counts))],
    )


def _failures_table(prepared: Prepared) -> Any:
    """None also where its storage is away: a report says how a run ended, whatever ended it."""
    try:
        return open_dataset(prepared.names.failures, prepared.config.storage_of_table)
    except OSError:
        return None


def _why_most_failed(prepared: Prepared, ledger: Ledger, failures: Any, *, refreshed: bool) -> FrequentFailure | None:
    """None where no more rows failed than may; else the open failures table is read."""
    over = exceeds(ledger.failures.count, ledger.vectors.count, prepared.config.max_failed)
    if failures is None or not over:
        return None
    return most_frequent(failures, ledger.first_shard, ledger.num_shards, refreshed=refreshed)


def report_of_finished(
    prepared: Prepared, entry: ManifestEntry, note: Callable[[str], None] = lambda text: None
) -> Report | None:
    """The report where nothing is left to do: both tables are read; neither is claimed or written.

    None where a run is needed: a position is in both tables, left by a retry that was killed between its commits; one
    of the tables is gone; a takedown was killed before it deleted; or the user has said what is to become of deleted
    rows. Raises `CorruptTableError` for repeated positions.
    """
    names, storage = prepared.names, prepared.config.storage_of_table
    vectors, failures = open_dataset(names.vectors, storage), open_dataset(names.failures, storage)
    if vectors is None or failures is None:
        return None
    ledger = Ledger(entry.first_shard, entry.num_shards)
    ledger.read(vectors, failures)
    if len(ledger.in_both()):
        return None
    notices = [*leave_out_strangers(ledger, prepared.manifest), *take_account(vectors, failures).notices(entry)]
    deleted = DeletedRows(prepared, entry, entry.run_id)
    deleted.find(ledger)
    if deleted.needs_run(ledger):
        return None
    notices += come_back(deleted.takedowns, prepared.config.table, vectors, failures)
    said = deleted.said()
    if said:
        note(said)
    return build_report(
        prepared,
        ledger,
        Tally(),
        run_id=entry.run_id,
        status="complete",
        message="",
        stages=prepared.pipeline.stages,
        commits=0,
        versions={"vectors": vectors.version, "failures": failures.version},
        notices=notices,
    )


def _stage_reports(stages: Sequence[Stage], tally: Tally) -> dict[str, StageReport]:
    """One report for each pool, the writers' among them."""
    reports = {}
    for stage in stages:
        actors, blocks = max(1, stage.resources.num_actors), stage.resources.concurrent_blocks
        reports[stage.name] = _stage_report(stage.name, stage.operator_names, actors, actors * blocks, tally)
    reports["write"] = _stage_report("write", ["write"], tally.num_writers, tally.num_writers, tally)
    return reports


def _stage_report(name: str, operators: Sequence[str], actors: int, blocks_at_once: int, tally: Tally) -> StageReport:
    spent = {operator: tally.seconds.get(operator, 0.0) for operator in operators}
    busy = sum(spent.values())
    there = tally.running_seconds * blocks_at_once
    return StageReport(
        actors=actors,
        images_per_s=tally.rows * blocks_at_once / busy if busy else 0.0,
        busy_share=min(busy / there, 1.0) if there else 0.0,
        seconds=spent,
        load_seconds=tally.load_seconds(name),
    )
