"""A bridge for the user: fitted on the rows that have both vectors, and what it loses said at once."""

import re

from pydantic import BaseModel

from jobs.session.progress import Progress
from jobs.session.ray_cluster import fragment_tasks
from operators.base.errors import UserError
from pipelines.gate.bridge import fit_bridge
from pipelines.run.cluster import ClusterConfig
from pipelines.space.bridge import BridgeRecord
from pipelines.table.table import Table


class BridgeReport(BaseModel):
    """A bridge that is stored and recorded."""

    table: str
    old: str
    """Name of the column that it leads to, when it was fitted."""
    new: str
    """Name of the new model's column."""
    bridge: BridgeRecord


def fit_bridge_of(
    table: Table, *, old: str, new: str, name: str | None = None, cluster: ClusterConfig, progress: Progress
) -> BridgeReport:
    """Fit, measure, store and record a bridge from `new` to `old`; its name is that of the new column unless given.

    Raises `UserError` for a name that is none, and where too few rows have both vectors; `CommitFailedError` and
    `OSError` where storage fails.
    """
    name = name or new
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise UserError(f"bridge {name!r}: a name has letters, digits, _ - and . alone")
    dataset = table.latest()
    progress.phase(f"fitting a bridge from {new} to {old}")
    with fragment_tasks(cluster, dataset.count_rows()) as execute:
        record = fit_bridge(
            table,
            old=old,
            new=new,
            name=name,
            execute=execute,
            on_rows=lambda done, total: progress.counted(f"{done:,} of {total:,} rows summed up", done / max(total, 1)),
        )
    return BridgeReport(table=str(table), old=old, new=new, bridge=record)


def as_text(report: BridgeReport) -> str:
    """What was fitted, what it loses, and how it is used."""
    bridge, loss = report.bridge, report.bridge.loss
    how = "orthogonal" if bridge.kind == "orthogonal" else f"ridge, penalty {bridge.penalty:g}"
    return "\n".join(
        [
            f"bridge     {bridge.name}: from {report.new} ({bridge.model.spec.name}) to {report.old}, {how}",
            f"fitted on  {bridge.rows:,} vectors of rows that have both",
            f"loss       recall@{loss.k} {loss.recall:.4f} against {report.new} itself (the old vectors' own: "
            f"{loss.overlap:.4f}), over {loss.queries:,} held-out rows as queries",
            f"cosine     {loss.cosine:.4f} of bridged to old vectors, on average over {loss.rows:,} held-out rows",
            f"artifact   {bridge.artifact.uri}",
            f"use it     pixlake search {report.table} --image IMAGE --bridge {bridge.name}",
        ]
    )
