"""How two states of a table differ, image by image; memory does not grow with their rows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ID, SHA256
from pipelines.scan.spill import Spill, parts_for, side_by_side
from pipelines.versions.compare import ROWS, compare_failures, compare_images, pair_moved
from pipelines.versions.states import FAILURES, IMAGES, compared, failure_rows, image_rows


@dataclass(frozen=True, kw_only=True)
class TableState:
    """One state: both tables (Lance datasets) at versions that belong together."""

    vectors: Any
    failures: Any


def differences(before: TableState, after: TableState) -> Iterator[pa.Table]:
    """Rows of `ROWS`, streamed in no order that means anything: what became of each image that is not the same in both
    states.

    Each side is set aside by the hash of its ids, and compared part by part.
    """
    with TemporaryDirectory(prefix="pixlake-diff-") as scratch:
        vectors, failures = (before.vectors, after.vectors), (before.failures, after.failures)
        parts = parts_for(max(dataset.count_rows() for dataset in vectors))
        added = Spill(scratch, "added", ROWS, SHA256.name, parts)
        deleted = Spill(scratch, "deleted", ROWS, f"old_{SHA256.name}", parts)
        columns = compared(*vectors)
        sides = (image_rows(dataset, columns) for dataset in vectors)
        for old, new in _both_states(scratch, "images", IMAGES, sides, parts):
            found = compare_images(old, new)
            yield found.settled
            yield _set_aside(added, found.added, SHA256.name)
            yield _set_aside(deleted, found.deleted, f"old_{SHA256.name}")
        for came, went in side_by_side((added, deleted), parts):
            yield from pair_moved(came, went)
        parts = parts_for(max(dataset.count_rows() for dataset in failures))
        for old, new in _both_states(scratch, "failures", FAILURES, map(failure_rows, failures), parts):
            yield compare_failures(old, new)


def _both_states(
    scratch: str, name: str, schema: pa.Schema, sides: Iterable[Iterable[pa.Table]], parts: int
) -> Iterator[tuple[pa.Table, ...]]:
    """All rows of the same ids on both sides, part by part."""
    spills = []
    for number, side in enumerate(sides):
        spill = Spill(scratch, f"{name}-{number}", schema, ID.name, parts)
        for rows in side:
            spill.add(rows)
        spills.append(spill)
    yield from side_by_side(spills, parts)


def _set_aside(side: Spill, rows: pa.Table, content: str) -> pa.Table:
    """Keep the rows whose content is known, to be paired by it; gives the others."""
    known = rows[content].is_valid()
    side.add(rows.filter(known))
    return rows.filter(pc.invert(known))
