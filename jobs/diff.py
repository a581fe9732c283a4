"""`pixlake diff`: which images differ between two states of a table."""

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field, field_serializer, field_validator

from jobs.config.read import ReadConfig
from jobs.reports.row_file import check_ending, row_file
from jobs.reports.shown_values import json_ready
from jobs.session.progress import Progress
from operators.base.errors import printable, row_line
from pipelines.scan.python_rows import python_rows
from pipelines.versions.compare import CHANGE, DIFFERENCES, ROWS, ImageChange
from pipelines.versions.differences import TableState, differences
from pipelines.versions.open import failures_at, vectors_at


class DiffConfig(ReadConfig):
    """Which two states, each a tag or the number of a version of the vector table. `storage` is for `out`, and for the
    table unless `table_storage` is given."""

    before: str
    after: str | None = None
    """Default: the latest state."""
    limit: int = Field(default=10, ge=0)
    """Rows of each kind that the result holds."""
    out: str | None = None
    """A file for all of them, whose ending says the format: `.parquet`, `.jsonl` or `.csv`."""

    @field_validator("out")
    @classmethod
    def _format_is_known(cls, value: str | None) -> str | None:
        return None if value is None else check_ending(value)


class DiffResult(BaseModel):
    """What became of the images between two states."""

    table: str
    before: str
    before_version: int
    after: str
    after_version: int
    """Versions of the vector table."""
    counts: dict[ImageChange, int]
    rows: list[dict[str, Any]]
    """The first `limit` rows of each kind: `change`, `id`, `uri`, `etag`, `sha256`, the same of the earlier state as
    `old_id`, …, `deleted_at`, `error_class`. What is null is left out."""
    out: str | None

    @field_serializer("rows", when_used="json")
    def _rows_as_json(self, rows: list[dict[str, Any]]) -> Any:
        return json_ready(rows)


def run(config: DiffConfig) -> DiffResult:
    """Compare the states. Raises `UserError` where there is no such table or state, `OSError` where storage fails."""
    table = config.stored
    before, after = (
        TableState(vectors=vectors_at(table, at), failures=failures_at(table, at))
        for at in (config.before, config.after)
    )
    counts, shown = Counter[str](), list[dict[str, Any]]()
    with Progress() as progress:
        progress.phase(f"comparing {before.vectors.count_rows():,} rows with {after.vectors.count_rows():,}")
        with nullcontext(_ignore) if config.out is None else row_file(config.out, ROWS, config.storage) as write:
            for rows in differences(before, after):
                write(rows)
                for each, part in _by_change(rows):
                    room = max(0, config.limit - counts[each])
                    shown += [_without_nulls(row) for row in python_rows(part.slice(0, room))]
                    counts[each] += part.num_rows
    return DiffResult(
        table=config.table,
        before=config.before,
        before_version=before.vectors.version,
        after=config.after or "latest",
        after_version=after.vectors.version,
        counts={each: counts[each] for each in DIFFERENCES},
        rows=sorted(shown, key=lambda row: DIFFERENCES.index(row[CHANGE.name])),
        out=config.out,
    )


def _ignore(rows: pa.Table) -> None:
    pass


def _by_change(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    for each in pc.unique(rows[CHANGE.name]).to_pylist():
        yield each, rows.filter(pc.equal(rows[CHANGE.name], each))


def _without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def as_text(found: DiffResult) -> str:
    """The counts, and a line for each of the first rows."""
    states = f"{found.before} (version {found.before_version}) to {found.after} (version {found.after_version})"
    counted = ", ".join(f"{count:,} {each.replace('_', ' ')}" for each, count in found.counts.items() if count)
    lines = [f"{found.table}, {states}: {counted or 'the same images'}"]
    lines += [row_line(_line(row)) for row in found.rows]
    left = sum(found.counts.values()) - len(found.rows)
    if found.out is not None:
        lines.append(f"all of them: {found.out}")
    elif left:
        lines.append(f"… and {left:,} more (--limit, or --out FILE)")
    return "\n".join(map(printable, lines))


def _line(row: dict[str, Any]) -> str:
    place = row.get("uri") or row.get("old_uri") or ""
    if row[CHANGE.name] == "moved":
        place = f"{row.get('old_uri')} -> {row.get('uri')}"
    more = row.get("error_class") or ("marked" if "deleted_at" in row else "")
    return "  ".join(each for each in (row[CHANGE.name].replace("_", " "), place, more) if each)
