"""What has changed between a source and a table, found without fetching an image: a join of the two by id that holds a
part of the ids at a time, whatever their number."""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from operators.base.counted import counted
from operators.base.errors import ErrorClass
from operators.storage.stores import StorageOptions
from pipelines.ledger.entries import read_entries
from pipelines.ledger.takedowns import Takedowns, said_of_back
from pipelines.manifests.manifest import OnRows, SourceConfig
from pipelines.refresh.changes.changes import OLD_URI, STATE, STATES, Changes, ImageState, changes_schema, part_path
from pipelines.refresh.changes.compare import HowCompared, compare
from pipelines.refresh.changes.guard import check_most_stays, check_source_known
from pipelines.refresh.changes.moved import Movers
from pipelines.refresh.changes.source import SourceState, in_types_of, open_state
from pipelines.refresh.changes.source_rows import KEY
from pipelines.refresh.changes.table_rows import (
    FAILURE_ROWS,
    Shards,
    check_columns,
    comparable,
    failure_rows,
    vector_rows,
    vector_rows_schema,
)
from pipelines.scan.spill import Spill, part_numbers, parts_for, parts_read, side_by_side
from pipelines.table.layout import layout_of
from pipelines.table.table import Table

Phase = Callable[[str], None]
_LISTED_AT_LEAST, _MAY_GROW = 1_000_000, 2
"""Rows that a listing, of which nobody knows how many there will be, is cut for at least; and the multiple of those in
the table."""
_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class DiffOptions:
    """What is asked of a comparison beside which table and which source."""

    registered: str | None = None
    """The name under which the source's manifests are registered in the table, where it is not its own."""
    max_deleted: float = 0.1
    """Share of the images in the vector table that may be gone from the source."""
    check_http: bool = False
    """Ask for images that nothing says anything about by HTTP."""
    retry: frozenset[ErrorClass] = frozenset()
    """Classes of failures that are tried again whatever the object is."""
    unfilled: tuple[str, ...] = ()
    """Vector columns that a swap has left some rows without: these are embedded."""


PLAINLY = DiffOptions()


@contextmanager
def find_changes(
    table: Table,
    source: SourceConfig,
    images: StorageOptions,
    options: DiffOptions = PLAINLY,
    *,
    roots: tuple[str, ...] = (),
    scratch: str | None = None,
    phase: Phase = lambda text: None,
) -> Iterator[Changes]:
    """Compare the source with the rows of the table that were embedded from it; the rows of the outcome lie on local
    scratch until the block is left.

    `scratch` is a local folder for as much as both sides hold, about half a kB an image. Rows of other sources are not
    looked at.

    Raises `SourceError` where the source cannot be read to its end, or compared at all; `RefusedError` where none of
    the table's rows are of this source, and where more than `max_deleted` would go; `OSError` where storage fails.
    """
    with tempfile.TemporaryDirectory(prefix="pixlake-refresh-", dir=scratch) as folder:
        phase("opening the source")
        state = open_state(source, images, os.path.join(folder, "manifests"), roots=roots)
        yield changes_of(table, state, folder, options, phase)


def changes_of(
    table: Table, state: SourceState, folder: str, options: DiffOptions = PLAINLY, phase: Phase = lambda text: None
) -> Changes:
    """The same for an opened source; the rows of the outcome lie in `folder`. Raises `RefusedError` too where values of
    the source do not fit the table's column."""
    vectors, failures = table.latest(), table.latest_failures()
    check_columns(table, vectors.schema, failures.schema)
    entries = read_entries(vectors.metadata, failures.metadata)
    name = options.registered or state.uri
    check_source_known(table, name, entries)
    state = in_types_of(vectors.schema, state)
    there = comparable(vectors.schema, state)
    how = HowCompared(
        kept=state.kept,
        compared=tuple(field.name for field in there if field.name not in (state.version_columns or ())),
        sized=state.version_columns is None,
        tells_content=state.tells_content,
        check_http=options.check_http,
        retry=options.retry,
        one_row=layout_of(vectors.schema) != "rows",
    )
    held = vectors.count_rows() + failures.count_rows()
    listed = max(_MAY_GROW * held, _LISTED_AT_LEAST) if state.rows is None else state.rows
    parts = parts_for(max(held, listed))
    diff = _Diff(folder, state, how, vector_rows_schema(there), parts)
    diff.read(state, vectors, failures, Shards(entries, name), options.unfilled, phase)
    phase("comparing")
    takedowns = Takedowns.read(table)
    diff.compare(takedowns.ids)
    # What a delete was killed over goes before anything else is done.
    back = said_of_back(diff.back, table.names.vectors.removesuffix(".lance")) if takedowns.finished else []
    check_most_stays(
        table,
        name,
        seen=diff.seen,
        live=diff.live,
        deleted=diff.lost,
        examples=diff.examples,
        max_deleted=options.max_deleted,
    )
    return Changes(
        counts={state: diff.counts[state] for state in STATES},
        schema=diff.schema,
        kept=state.kept,
        allowed_roots=state.allowed_roots,
        notices=(*state.notices, *diff.notices(), *back),
        takedowns_unfinished=not takedowns.finished,
        versions={"vectors": vectors.version, "failures": failures.version},
        live=diff.live,
        folder=folder,
    )


class _Diff:
    """The join under way."""

    def __init__(self, folder: str, state: SourceState, how: HowCompared, vectors: pa.Schema, parts: int) -> None:
        self.schema = changes_schema(state.kept)
        self.counts: Counter[ImageState] = Counter()
        self.seen = 0
        """Images of the source."""
        self.live = 0
        """Images in the vector table that are not marked as deleted."""
        self.lost = 0
        """Those of them that are gone from the source."""
        self.examples: list[str] = []
        self.back: list[str] = []
        """Ids that are taken down and have rows in the table."""
        self._twice = [0, 0]
        self._copies = 0
        self._folder, self._how, self._parts = folder, how, parts
        sides = {"source": state.schema, "vectors": vectors, "failures": FAILURE_ROWS}
        self._sides = {name: Spill(folder, name, schema, KEY.name, parts) for name, schema in sides.items()}
        self._movers = Movers(folder, self.schema, parts)

    def read(
        self,
        state: SourceState,
        vectors: Any,
        failures: Any,
        shards: Shards,
        unfilled: tuple[str, ...],
        phase: Phase,
    ) -> None:
        """Set both sides aside, the source here and the table in a thread: one is mostly Python, the other is not."""

        def read_table() -> None:
            self._fill("vectors", vector_rows(vectors, shards, state, unfilled))
            self._fill("failures", failure_rows(failures, shards))

        with ThreadPoolExecutor(1, thread_name_prefix="read-table") as thread:
            reading = thread.submit(read_table)
            self._fill("source", state.batches(), lambda rows: phase(f"reading {state.uri}: {rows:,} rows"))
            reading.result()
        self.seen = self._sides["source"].rows

    def _fill(self, name: str, batches: Iterator[pa.Table], progress: OnRows = lambda rows: None) -> None:
        side = self._sides[name]
        for batch in batches:
            side.add(batch)
            progress(side.rows)

    def compare(self, taken_down: pa.Array) -> None:
        """Compare what was set aside, part by part, and write what is to be done."""
        sides = [*self._sides.values()]
        numbers = part_numbers(taken_down, parts_read(sides, self._parts))
        with ExitStack() as stack:
            writers = _Writers(self._folder, self.schema, stack)
            for part, (source, vectors, failures) in enumerate(side_by_side(sides, self._parts)):
                out = taken_down.filter(pa.array(numbers == part))
                found = compare(source, vectors, failures, out, self._how)
                self.counts.update(found.counts)
                self.live += found.live
                self._copies += found.copies
                self.back += found.back
                self._twice = [before + more for before, more in zip(self._twice, found.twice, strict=True)]
                for rows in found.rows:
                    writers.write(rows)
                for rows in self._movers.add(found.new, found.lost):
                    self._write(rows, writers)
            for rows in self._movers.settle():
                self._write(rows, writers)

    def _write(self, rows: pa.Table, writers: "_Writers") -> None:
        """Write rows whose states are not counted yet."""
        for entry in pc.value_counts(rows[STATE.name]).to_pylist():
            state: ImageState = entry["values"]
            mine = rows.filter(pc.equal(rows[STATE.name], state))
            self.counts[state] += mine.num_rows
            writers.write(mine)
            if state == "deleted":
                self.lost += mine.num_rows
                more = mine[OLD_URI.name].slice(0, _EXAMPLES - len(self.examples)).to_pylist()
                self.examples += [str(uri) for uri in more]

    def notices(self) -> list[str]:
        """What the user should know of ids that do not tell images apart."""
        said = []
        if self._twice[0]:
            are = counted(self._twice[0], "id is", "ids are")
            said.append(f"{are} more than once in the source: each of their rows is an image")
        if self._twice[1]:
            old = self.counts["repeated"]
            what = f", {old:,} of which are not what the source says now, and go" if old else ""
            said.append(f"{counted(self._twice[1], 'id has', 'ids have')} more than one row in the table{what}")
        if self._copies:
            one, many = "row of the table is a copy of another", "rows of the table are copies of others"
            said.append(
                f"{counted(self._copies, one, many)}, at the same (shard, row): another tool has added them, and they "
                "stay. With LanceDB, checkout(VERSION) and restore() bring back a version without"
            )
        return said


class _Writers:
    """A file for the rows of each state that has any."""

    def __init__(self, folder: str, schema: pa.Schema, stack: ExitStack) -> None:
        self._folder, self._schema, self._stack = folder, schema, stack
        self._files: dict[ImageState, pa.RecordBatchWriter] = {}

    def write(self, rows: pa.Table) -> None:
        """Write rows of one state."""
        if not rows.num_rows:
            return
        state: ImageState = rows[STATE.name][0].as_py()
        if state not in self._files:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            writer = pa.ipc.new_stream(part_path(self._folder, state), self._schema, options=options)
            self._files[state] = self._stack.enter_context(writer)
        self._files[state].write_table(rows)
