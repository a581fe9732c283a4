"""`pixlake rewrite`: a table copied into a new one, which has no stable row ids."""

import secrets
from datetime import UTC, datetime

from pydantic import BaseModel

from jobs.config.read import ReadConfig
from jobs.session.progress import Progress
from operators.base.counted import counted
from pipelines.rewrite.copy import rewrite_table
from pipelines.table.table import Table


class RewriteConfig(ReadConfig):
    """Which table is copied, and to where; both with the same storage settings."""

    new_table: str


class RewriteReport(BaseModel):
    """What was copied, and what the new table lacks yet."""

    table: str
    new_table: str
    version: int
    """Version of the old vector table."""
    vectors: int
    failures: int
    files: int
    """Files copied beside the tables: artifacts, and the settings and reports of runs."""
    indexes: tuple[str, ...]
    """Indexes of the old table, to be built again on the new one."""
    already: bool
    """Whether an earlier run of the same command had already done it all."""


def run(config: RewriteConfig) -> RewriteReport:
    """Copy the table. Raises `UserError` where there is no such table or the new name is taken, `TableError` and
    `OSError` where the copy is not whole: the same command again makes it anew."""
    config.stored.latest()
    run_id = f"rewrite-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    with Progress() as progress:
        progress.phase(f"copying {config.table} to {config.new_table}")
        done = rewrite_table(
            config.stored,
            Table.of(config.new_table, config.storage_of_table),
            run_id,
            lambda rows, total: progress.counted(f"{rows:,} of {counted(total, 'row')}", rows / max(total, 1)),
        )
    return RewriteReport(table=config.table, new_table=config.new_table, **vars(done))


def as_text(report: RewriteReport) -> str:
    """A few lines for a person."""
    how = "is already a whole copy" if report.already else "is a whole copy"
    lines = [
        f"{report.new_table} {how} of {report.table}, version {report.version}: {counted(report.vectors, 'row')}, "
        f"{counted(report.failures, 'failure')}; rows and positions were counted in both",
    ]
    if report.indexes:
        lines.append(
            f"It has none of the indexes yet ({', '.join(report.indexes)}): build them with `pixlake index "
            f"{report.new_table}`, which makes those of id and uri; `--type` gives a vector column one, `--scalar "
            "COLUMN` every other column"
        )
    lines.append(
        f"{report.table} is as it was; embed into the new one from here on, and remove the old one when you like"
    )
    return "\n".join(lines)
