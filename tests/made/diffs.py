"""Rows of a source and of a table, made of what matters to their comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from pipelines.refresh.changes.source_rows import source_rows_schema
from pipelines.refresh.changes.table_rows import FAILURE_ROWS, vector_rows_schema

LABEL = pa.field("label", pa.string())
KEPT = (LABEL,)


@dataclass(frozen=True)
class SourceRow:
    id: str
    uri: str | None
    version: str | None
    size: int = 7
    label: str = "cat"
    error: str | None = None


@dataclass(frozen=True)
class VectorRow:
    id: str
    uri: str
    version: str | None
    size: int = 7
    label: str = "cat"
    marked: bool = False


@dataclass(frozen=True)
class FailureRow:
    id: str
    uri: str | None
    error_class: str
    version: str | None
    error: str = "e"


def source_table(rows: Sequence[SourceRow]) -> pa.Table:
    columns = {
        "row.key": [r.id for r in rows],
        "id": [r.id for r in rows],
        "uri": [r.uri for r in rows],
        "label": [r.label for r in rows],
        "size_bytes": [r.size for r in rows],
        "change.version": [r.version for r in rows],
        "error": [r.error for r in rows],
        "change.position": list(range(len(rows))),
    }
    return pa.table(columns, schema=source_rows_schema(KEPT))


def vector_table(rows: Sequence[VectorRow]) -> pa.Table:
    """Row n stands at shard 0, row n; its etag is the version in quotes, its sha256 tells n."""
    columns = {
        "row.key": [r.id for r in rows],
        "id": [r.id for r in rows],
        "uri": [r.uri for r in rows],
        "etag": [r.version and f'"{r.version}"' for r in rows],
        "size_bytes": [r.size for r in rows],
        "sha256": [f"{n:064x}" for n in range(len(rows))],
        "shard": [0] * len(rows),
        "row": list(range(len(rows))),
        "row.deleted_at": [datetime(2026, 1, 1, tzinfo=UTC) if r.marked else None for r in rows],
        "change.version": [r.version for r in rows],
        "label": [r.label for r in rows],
    }
    return pa.table(columns, schema=vector_rows_schema(KEPT))


def failure_table(rows: Sequence[FailureRow]) -> pa.Table:
    """Row n stands at shard 1, row n."""
    columns = {
        "row.key": [r.id for r in rows],
        "id": [r.id for r in rows],
        "uri": [r.uri for r in rows],
        "error_class": [r.error_class for r in rows],
        "error": [r.error for r in rows],
        "change.version": [r.version for r in rows],
        "shard": [1] * len(rows),
        "row": list(range(len(rows))),
    }
    return pa.table([columns[name] for name in FAILURE_ROWS.names], schema=FAILURE_ROWS)
