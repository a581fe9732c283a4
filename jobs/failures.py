"""`pixlake failures`: which images gave no vector, and why."""

from collections import Counter
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, Field, field_serializer

from jobs.config.read import PastReadConfig
from jobs.reports.remedies import remedy
from jobs.reports.shown_values import json_ready
from operators.base.counted import counted
from operators.base.errors import ErrorClass, row_line
from pipelines.ledger.entries import read_entries
from pipelines.ledger.failed_images import TOLD_BY, FailedImages
from pipelines.scan.plain import plain_scan
from pipelines.scan.python_rows import python_rows
from pipelines.scan.sql import sql_text


class FailuresConfig(PastReadConfig):
    """Which of a table's failures are asked for."""

    error_class: ErrorClass | None = None
    stage: str | None = None
    contains: str | None = None
    """Text that the URI must contain."""
    limit: int = Field(default=20, ge=0)


class Failures(BaseModel):
    """The failures that match, counted by class, and the first `limit` of them."""

    table: str
    total: int
    of: int
    """Failures of the table, whether they match or not."""
    by_class: dict[str, int]
    images: int | None = None
    """Images among those that match: one that was tried through several manifests has a failure for each. None where
    more than ten million match."""
    refreshed: bool = False
    """Whether refreshes keep the table to a source: its failures are taken again by them."""
    rows: list[dict[str, Any]]

    @field_serializer("rows", when_used="json")
    def _rows_as_json(self, rows: list[dict[str, Any]]) -> Any:
        return json_ready(rows)


def run(config: FailuresConfig) -> Failures:
    """The failures asked for. Raises `UserError` where there is no such table."""
    dataset = config.failures
    conditions = []
    if config.error_class is not None:
        conditions.append(f"`error_class` = {sql_text(config.error_class)}")
    if config.stage is not None:
        conditions.append(f"`stage` = {sql_text(config.stage)}")
    if config.contains is not None:
        conditions.append(f"contains(`uri`, {sql_text(config.contains)})")
    where = " AND ".join(conditions) or None
    counts, images = Counter[str](), FailedImages()
    for batch in plain_scan(dataset, ["error_class", *TOLD_BY], where):
        counts.update(batch.column("error_class").to_pylist())
        images.add(batch)
    first = plain_scan(dataset, dataset.schema.names, where, limit=config.limit) if config.limit else ()
    rows = [row for batch in first for row in python_rows(pa.table(batch))]
    by_class = dict(sorted(counts.items()))
    refreshed = any(entry.delta for entry in read_entries({}, dataset.metadata))
    return Failures(
        table=config.table,
        total=counts.total(),
        of=dataset.count_rows(),
        by_class=by_class,
        images=images.count,
        refreshed=refreshed,
        rows=rows,
    )


def as_text(found: Failures) -> str:
    """Counts by class, a line a failure (class, URI, operator, reason), and what to do about each class."""
    if not found.of:
        return f"{found.table}: no failures"
    if not found.total:
        return f"{found.table}: none of its {counted(found.of, 'failure matches', 'failures match')}"
    counts = ", ".join(f"{name} {count:,}" for name, count in found.by_class.items())
    several = found.images is not None and found.images < found.total
    of = f" of {counted(found.images or 0, 'image')}, some tried through several manifests" if several else ""
    lines = [f"{found.table}: {counted(found.total, 'failure')}{of}: {counts}"]
    for row in found.rows:
        lines.append(row_line(f"{row['error_class']}  {row['uri']}  {row['stage']}: {row['error']}"))
    if found.total > len(found.rows):
        lines.append(f"… and {found.total - len(found.rows):,} more (--limit)")
    lines += [f"to do, {name}: {remedy(name, found.refreshed)}" for name in found.by_class]
    return "\n".join(lines)
