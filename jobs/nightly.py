"""`pixlake nightly`: a table brought to what its source is, kept in order, measured and told about, night after
night."""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from jobs.nights.config import NightlyConfig
from jobs.nights.lease import Lease
from jobs.nights.metrics import check_writable, write_metrics
from jobs.nights.report import NightlyReport, as_json, as_text, new_report, nights_before, read_report
from jobs.nights.run import NightRun
from jobs.nights.steps import Night, latest_tag
from jobs.session.interrupts import Interrupts
from jobs.session.progress import working
from operators.base.errors import UserError
from pipelines.table.conditional_put import require_conditional_put
from pipelines.table.table import Table

__all__ = ["NightlyConfig", "NightlyReport", "as_json", "as_text", "run"]

POLL_S = 2.0
"""Between two looks at whether another night has ended."""


def run(config: NightlyConfig) -> NightlyReport:
    """Take the steps of the night that are not done. The same command again goes on where a killed one was; after the
    end it does nothing unless the source has changed.

    What fails in a step is told by the report, which is stored under `NAME__runs/nightly-DATE/`. Raises `UserError` for
    what is wrong before the first step: settings, a table or a store that cannot be used, a night that is past; the
    metrics say so too. `OSError` where report or metrics cannot be written.
    """
    table = Table.of(config.table, config.storage_of_table)
    if config.metrics is None:
        return _night(config, table)
    check_writable(config.metrics)
    try:
        report = _night(config, table)
    except UserError as error:
        write_metrics(_refused(config, table, str(error)), config.metrics)
        raise
    if report.status != "left" and not report.is_past:
        write_metrics(report, config.metrics)
    return report


def _night(config: NightlyConfig, table: Table) -> NightlyReport:
    if config.night > datetime.now(UTC).date() + timedelta(days=1):
        raise UserError(f"night {config.night}: has not come yet")
    require_conditional_put(table)
    with Interrupts(), Lease(f"{table.names.runs}/lease", table.storage) as lease:
        if not _held(lease, config):
            message = f"left to {lease.holder or 'another night'}, which is running"
            return new_report(table, config.night, name=config.name).ended("left", message)
        return _past(config, table) or _take(config, table, lease)


def _refused(config: NightlyConfig, table: Table, message: str) -> NightlyReport:
    """The report of a night that was not begun, with what the latest one before it knew."""
    latest = None
    with suppress(UserError, OSError):
        latest = next((read_report(table, night) for night in nights_before(table)), None)
    return new_report(table, config.night, name=config.name, before=latest).ended("refused", message)


def _held(lease: Lease, config: NightlyConfig) -> bool:
    """Whether the lease is ours, after a wait if that is wanted."""
    if lease.take():
        return True
    if config.if_running == "leave":
        if lease.holder is None or not lease.holder.is_here:
            return False
        # A process that was killed takes a moment to be gone.
        time.sleep(POLL_S)
        return lease.take()
    with working(f"waiting for {lease.holder or 'another night'}"):
        while not lease.take():
            time.sleep(POLL_S)
    return True


def _past(config: NightlyConfig, table: Table) -> NightlyReport | None:
    """The report of a night that was complete before a later one began; None where none has begun. Raises `UserError`
    for a night that was not complete."""
    name = config.night.isoformat()
    later = [night for night in nights_before(table) if night > name]
    if not later:
        return None
    earlier = read_report(table, name)
    if earlier is not None and earlier.status == "complete":
        message = f"was complete, and is past, since {later[0]} has begun; nothing was done"
        return earlier.model_copy(update={"nothing_to_do": True, "is_past": True, "message": message})
    raise UserError(
        f"table {config.table}: night {name} is past, since {later[0]} has begun; without --night, or with a later "
        "one, what it left undone is done"
    )


def _take(config: NightlyConfig, table: Table, lease: Lease) -> NightlyReport:
    name = config.night.isoformat()
    earlier = read_report(table, name)
    before = [read_report(table, night) for night in nights_before(table, name)[:1]]
    report = new_report(table, config.night, name=config.name, before=before[0] if before else None)
    night = Night(config=config, table=table, before=latest_tag(table, name))
    return NightRun(night, lease, earlier, report).go()
