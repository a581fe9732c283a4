"""What an audit says: faults, what could not be checked, and how the table stands; as JSON and as text."""

from typing import Literal

from pydantic import BaseModel

from operators.base.counted import counted
from operators.base.errors import printable
from pipelines.audit.faults import Fault
from pipelines.swap.state import SwapState


class AuditedManifest(BaseModel):
    """One registered manifest and where its rows are."""

    source: str
    status: str
    rows: int
    covered: int
    """Rows that its latest run was to cover."""
    opened: bool
    """Whether its shards could be compared with the tables."""
    refreshed: bool
    """Whether refreshes keep the table to the source: its rows are known by id, not by position."""
    taken_down: int = 0
    skipped: int = 0
    deleted: int = 0
    """Rows that were in the tables, and that another tool has deleted."""
    missing: int = 0
    """Rows that were never there."""


class AuditedSample(BaseModel):
    """Rows that were recomputed from their source."""

    drawn: int
    compared: int
    least_cosine: float | None
    changed: int
    """Their source has other bytes now."""
    unreachable: dict[str, int]
    """Class of failure -> rows whose source gave no image today."""


StepState = Literal["planned", "done", "by hand", "failed"]


class RepairStep(BaseModel):
    """One thing that a repair would do, has done, or leaves to you."""

    what: str
    count: int
    state: StepState
    command: str | None = None
    """What does the same by hand, or has to be done by hand."""


class AuditReport(BaseModel):
    """A table compared with its manifests, its files and its source."""

    table: str
    version: int
    failures_version: int
    rows: int
    images: int
    failures: int
    marked_deleted: int
    swap: SwapState | None
    refreshes: int
    manifests: list[AuditedManifest]
    unlisted_files: int
    """Files that the latest version does not list: of earlier versions, and of runs that were killed."""
    unlisted_bytes: int
    sample: AuditedSample | None
    faults: list[Fault]
    problems: list[str]
    """What was to be checked and could not be."""
    notes: list[str]
    """What an audit does not check of such a table, and what is no fault."""
    repair: list[RepairStep] = []

    @property
    def clean(self) -> bool:
        return not self.faults and not self.problems


def as_text(report: AuditReport) -> str:
    lines = [
        f"table      {report.table}, version {report.version}",
        f"rows       {counted(report.rows, 'row')} of {counted(report.images, 'image')}, "
        f"{counted(report.failures, 'failure')}",
        *(_manifest_line(each) for each in report.manifests),
    ]
    if report.marked_deleted:
        lines.append(f"gone       {report.marked_deleted:,} of these rows are marked as deleted")
    if report.swap is not None:
        lines.append(f"swap       {report.swap.replace('_', ' ')}")
    if report.sample is not None:
        lines.append(_sample_line(report.sample))
    lines += [f"fault      {each.kind} in {each.where}: {each.what}{_shown(each)}" for each in report.faults]
    lines += [f"problem    {each}" for each in report.problems]
    lines += [f"note       {each}" for each in report.notes]
    lines += [f"repair     {_step(each)}" for each in report.repair]
    if any(each.state == "planned" for each in report.repair):
        lines.append("to do it   the same command with --yes; nothing is changed yet")
    lines.append(f"result     {_result(report)}")
    return "\n".join(map(printable, lines))


def _manifest_line(manifest: AuditedManifest) -> str:
    line = f"manifest   {manifest.source}: {counted(manifest.rows, 'row')}, {manifest.status}"
    counts = {
        "taken down": manifest.taken_down,
        "left out as there already": manifest.skipped,
        "deleted by another tool": manifest.deleted,
        "in neither table": manifest.missing,
    }
    line += "".join(f", {count:,} {what}" for what, count in counts.items() if count)
    return line + ("" if manifest.opened or manifest.refreshed else "; not opened")


def _sample_line(sample: AuditedSample) -> str:
    line = f"sample     {sample.compared:,} of {counted(sample.drawn, 'row')} recomputed"
    if sample.least_cosine is not None:
        line += f", cosine {sample.least_cosine:.4f} at worst"
    if sample.changed:
        line += f"; {sample.changed:,} have other bytes at the source now"
    unreachable = ", ".join(f"{count:,} {name}" for name, count in sorted(sample.unreachable.items()))
    return line + (f"; not readable now: {unreachable}" if unreachable else "")


def _shown(fault: Fault) -> str:
    if not fault.examples:
        return ""
    return f" ({', '.join(fault.examples)}{', …' if fault.count > len(fault.examples) else ''})"


def _step(step: RepairStep) -> str:
    return f"{step.state}: {step.what}" + (f": {step.command}" if step.command else "")


def _result(report: AuditReport) -> str:
    if report.faults:
        kinds = ", ".join(sorted({each.kind for each in report.faults}))
        return f"{counted(len(report.faults), 'fault')}: {kinds}"
    if report.problems:
        return "no fault was found, and not all could be checked"
    return "no fault"
