"""`pixlake refresh`: a table brought to what its source is now; the same command again does what is left."""

import time
from contextlib import suppress

from jobs import upkeep
from jobs.embedding.progress import RunProgress
from jobs.embedding.run import cut_short
from jobs.refreshing.config import RefreshConfig, recorded_job
from jobs.refreshing.delta_run import OutdatedError
from jobs.refreshing.once import RefreshOnce
from jobs.refreshing.report import RefreshReport, as_text
from jobs.reports.run_report import store_run_file
from jobs.session.interrupts import Interrupts
from operators.base.errors import UserError
from pipelines.run.cluster import ClusterConfig
from pipelines.table.errors import RefusedError, TableError

__all__ = ["RefreshConfig", "RefreshReport", "as_text", "run"]

_ATTEMPTS = 5


def run(config: RefreshConfig) -> RefreshReport:
    """Bring the table to what its source is now. Raises `UserError` for what a user can mend; an interruption is a
    report. Where nothing has changed, nothing is fetched and nothing is committed.

    Whatever is killed, the same command finds what is left: it compares source and table anew.
    """
    began = time.monotonic()
    recorded = recorded_job(config)
    kept_up = _upkeep(config, recorded.config.cluster)
    with Interrupts() as interrupts, RunProgress() as progress:
        report = None
        for _ in range(_ATTEMPTS):
            # The table may be changed between the comparison and the claim; from the claim on, by other tools alone.
            with suppress(OutdatedError):
                report = RefreshOnce(config, recorded, interrupts, progress).go()
                break
    if report is None:
        raise RefusedError(
            f"table {config.table}: was changed each of {_ATTEMPTS} times that it was compared with its source; let "
            "the other run or tool finish, and start the same command once more"
        )
    if report.status == "complete" and config.upkeep and not config.dry_run:
        report = _with_upkeep(report, kept_up)
    report = report.model_copy(update={"seconds": round(time.monotonic() - began, 3)})
    if report.run_id is not None:
        store_run_file(report, report.run_id, "refresh.json", config.stored.names, config.stored.storage)
    return report


def _upkeep(config: RefreshConfig, cluster: ClusterConfig) -> upkeep.UpkeepConfig:
    """What is done for the table at the end. Raises `UserError` for a tag or an age that cannot be."""
    return upkeep.UpkeepConfig(
        table=config.table,
        storage=config.storage,
        table_storage=config.table_storage,
        cluster=cluster,
        keep_versions=config.keep_versions,
        tag=config.tag,
    )


def _with_upkeep(report: RefreshReport, config: upkeep.UpkeepConfig) -> RefreshReport:
    try:
        done = upkeep.run(config)
    except (UserError, TableError, OSError) as error:
        status, why = cut_short(error)
        message = f"the table is refreshed, and its upkeep failed: {why}"
        return report.model_copy(update={"status": status, "message": message})
    table = config.stored
    versions = {"vectors": table.latest().version, "failures": table.latest_failures().version}
    return report.model_copy(update={"upkeep": done, "tag": done.tag, "versions": versions})
