"""The outcome of a refresh, for a machine and for a person."""

from typing import Any

from pydantic import BaseModel

from jobs.reports.run_report import Report, Status
from jobs.upkeep import UpkeepReport
from operators.base.counted import counted
from operators.base.errors import printable

CHANGED = ("new", "changed", "touched", "moved", "returned", "deleted", "retried", "asked")
"""States of which something was done, in the order in which they are told."""


class RefreshReport(BaseModel):
    """The outcome of one `pixlake refresh`."""

    status: Status
    table: str
    source: str
    run_id: str | None
    """None where nothing was to be done."""
    dry_run: bool
    counts: dict[str, int]
    """State -> images, as they were found; of images that were fetched, as their bytes have told since."""
    to_fetch: int
    """Images whose bytes were asked for, or with `dry_run` would be."""
    embedded: int
    """Images that got new vectors."""
    failed: int
    failures_by_class: dict[str, int]
    carried: int
    """Images whose rows were written again with their vectors as they were."""
    rows_deleted: int
    failures_deleted: int
    gone_meanwhile: int
    """Images whose rows another tool deleted while they were to be written again."""
    seconds: float
    """Of the whole command."""
    images_per_s: float
    """Of what was fetched, from the first block to the last commit."""
    commits: int
    """Versions that this refresh has made of both tables, upkeep apart."""
    versions: dict[str, int]
    """Of both tables at the end, upkeep included."""
    tag: str | None
    upkeep: UpkeepReport | None
    run: Report | None
    """The report of the run on what was fetched."""
    message: str = ""
    notices: list[str] = []

    @property
    def nothing_to_do(self) -> bool:
        return self.status == "complete" and self.run_id is None


def as_text(report: RefreshReport) -> str:
    """A few lines for the end of a refresh."""
    counts = report.counts
    told = ", ".join(f"{counts.get(state, 0):,} {state}" for state in CHANGED if counts.get(state))
    if report.dry_run:
        lines = [f"{report.table}: would fetch {counted(report.to_fetch, 'image')} of {report.source}"]
    elif report.nothing_to_do:
        lines = [f"{report.table}: nothing to do, it is as {report.source} is"]
    else:
        lines = [f"{report.table}: {report.status}, kept to {report.source}"]
    lines.append(f"  images     {counts.get('unchanged', 0):,} unchanged" + (f", {told}" if told else ""))
    lines += _others(counts)
    if report.embedded or report.failed:
        lines.append(
            f"  embedded   {report.embedded:,} of {report.to_fetch:,} fetched, {counted(report.failed, 'failure')}, "
            f"{report.images_per_s:,.1f} images/s"
        )
    if report.failures_by_class:
        classes = ", ".join(f"{name} {count:,}" for name, count in sorted(report.failures_by_class.items()))
        lines.append(f"  failures   {classes} (pixlake failures {report.table})")
    if report.carried or report.rows_deleted or report.failures_deleted:
        lines.append(
            f"  records    {report.carried:,} written again with their vectors, {counted(report.rows_deleted, 'row')} "
            f"and {counted(report.failures_deleted, 'failure')} deleted"
        )
    if report.gone_meanwhile:
        gone = counted(report.gone_meanwhile, "image was", "images were")
        lines.append(f"  meanwhile  {gone} deleted by another tool")
    if report.status != "complete":
        lines.append(f"  {report.message}")
    lines += _state(report)
    lines += [f"  notice: {notice}" for notice in report.notices]
    return "\n".join(map(printable, lines))


def _others(counts: dict[str, int]) -> list[str]:
    told = {
        "failed": "failed before, and not tried again: the objects are what they were (--retry-failed tries them)",
        "gone": "marked as deleted before",
        "taken_down": "taken down, and kept out",
        "repeated": "rows of images that have another",
        "stale": "failures of images that have vectors, or a later failure",
    }
    return [f"  {state:<10} {counts[state]:,} {words}" for state, words in told.items() if counts.get(state)]


def _state(report: RefreshReport) -> list[str]:
    upkeep: Any = report.upkeep
    if upkeep is None:
        return []
    lines = [f"  state      version {upkeep.version}" + (f", tagged {report.tag}" if report.tag else "")]
    return lines + [f"  problem    {problem}" for problem in upkeep.problems]
