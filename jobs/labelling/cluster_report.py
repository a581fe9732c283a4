"""What `pixlake cluster` found: the JSON that it stores, and the text for a person."""

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from operators.base.counted import counted
from operators.base.errors import printable
from pipelines.clusters.survey import ClusterSurvey

SHOWN_CLUSTERS = 20
WEAK = 0.1
"""A mean silhouette under this is no sign that there are groups at all."""


class ClusteredRow(BaseModel):
    """A row, and how near it is to the centre of its cluster."""

    id: str
    """`region_id` in a table with a row per region."""
    uri: str
    cluster: int
    cosine: float


class ClusterResult(BaseModel):
    """One cluster."""

    cluster: int
    size: int
    """Rows, without those that are marked as deleted."""
    share: float
    cohesion: float | None
    """Mean cosine of its rows to its centre; None where it has none."""
    least_cosine: float | None
    representatives: list[ClusteredRow]
    """Rows nearest the centre, the nearest first."""


class TriedClusters(BaseModel):
    k: int
    silhouette: float


class ClusterReport(BaseModel):
    """The clusters of a table as they are now."""

    table: str
    version: int
    made_at: str
    column: str
    """The vectors that were clustered."""
    space_digest: str
    name: str
    """The column of clusters."""
    cosine_name: str
    k: int
    tried: list[TriedClusters]
    """What `auto` chose among; empty where the number was given."""
    asked: dict[str, Any]
    artifact: str
    sha256: str
    fitted_on: int
    """Vectors that the centres were fitted on."""
    fitted_cosine: float
    """Mean cosine of those to their centre."""
    filled_now: int
    """Rows that this run filled."""
    without_vector: int
    not_finite: int
    no_direction: int
    """Rows that this run left null: without a vector, with a number that is not finite, of zeros alone."""
    rows: int
    """Rows with a cluster, without those that are marked as deleted."""
    unassigned: int
    changed: int = 0
    """Rows with a cluster that there is not, or without its cosine, as another tool has left them: in no other
    figure."""
    clusters: list[ClusterResult]
    outliers: list[ClusteredRow]
    """Rows of the whole table farthest from their centre, the farthest first."""
    seconds: float
    json_file: str


def rows_of(table: pa.Table) -> list[ClusteredRow]:
    return [ClusteredRow(**{**row, "cosine": round(row["cosine"], 6)}) for row in table.to_pylist()]


def clusters_of(survey: ClusterSurvey) -> list[ClusterResult]:
    """All clusters, by their number."""
    nearest: dict[int, list[ClusteredRow]] = {}
    for row in rows_of(survey.nearest):
        nearest.setdefault(row.cluster, []).append(row)
    total = max(int(survey.sizes.sum()), 1)
    return [
        ClusterResult(
            cluster=number,
            size=int(size),
            share=round(int(size) / total, 6),
            cohesion=_figure(survey.cohesions[number]),
            least_cosine=_figure(survey.least[number]),
            representatives=nearest.get(number, []),
        )
        for number, size in enumerate(survey.sizes)
    ]


def _figure(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def as_text(report: ClusterReport) -> str:
    """The largest clusters and the farthest rows, for a person."""
    lines = [
        f"column     {report.name}: {counted(report.k, 'cluster')} of {report.column}; {report.cosine_name}: cosine to "
        "the centre",
        *_how_many(report),
        f"fitted on  {report.fitted_on:,} vectors, whose cosine to their centre is {report.fitted_cosine:.4f} on "
        "average",
        f"artifact   {report.artifact}",
        f"rows       {report.filled_now:,} filled now{'' if report.filled_now else ': nothing to do'}; "
        f"{report.rows:,} live rows in all{f', {report.unassigned:,} without a cluster' if report.unassigned else ''}",
        *_changed(report),
        "",
        "cluster      size   share  cohesion  nearest its centre",
    ]
    by_size = sorted(report.clusters, key=lambda each: (-each.size, each.cluster))
    lines += [_line(each) for each in by_size[:SHOWN_CLUSTERS]]
    if len(by_size) > SHOWN_CLUSTERS:
        lines.append(f"and {len(by_size) - SHOWN_CLUSTERS:,} smaller ones, in {report.json_file}")
    if report.outliers:
        lines += ["", "farthest from any centre"]
        lines += [f"  {row.cosine:7.4f}  {_shown(row)}, of cluster {row.cluster}" for row in report.outliers[:10]]
    lines += ["", f"all of it  {report.json_file}"]
    return "\n".join(printable(line) for line in lines)


def _how_many(report: ClusterReport) -> list[str]:
    if not report.tried:
        return []
    best = max(report.tried, key=lambda each: each.silhouette)
    others = ", ".join(f"{each.k}: {each.silhouette:.3f}" for each in report.tried)
    lines = [f"chosen     {report.k} by the largest mean silhouette ({others})"]
    if best.silhouette < WEAK:
        lines.append(
            f"           {best.silhouette:.3f} is weak: these vectors may have no groups, or groups within groups; "
            "look at a few, or give --k"
        )
    return lines


def _changed(report: ClusterReport) -> list[str]:
    if not report.changed:
        return []
    return [
        f"           {counted(report.changed, 'row')} not counted: another tool has written to {report.name} or "
        f"{report.cosine_name} there; set both to NULL, and the same command fills them again"
    ]


def _line(each: ClusterResult) -> str:
    cohesion = "       -" if each.cohesion is None else f"{each.cohesion:8.4f}"
    named = ", ".join(_shown(row) for row in each.representatives[:3])
    return f"{each.cluster:7d}  {each.size:8,}  {each.share:6.2%}  {cohesion}  {named}"


def _shown(row: ClusteredRow) -> str:
    """The end of its URI, and the number of its region."""
    region = row.id.rpartition("#")
    return "/".join(row.uri.split("/")[-2:]) + ("#" + region[2] if region[1] else "")
