"""What must be in the two tables: the model that every operation foretells, and that each step is held to."""

import contextlib
import io
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lance
import lancedb

from operators.base.errors import UserError
from operators.storage.uris import StorageError
from pipelines.table.errors import TableError
from state_machine.expected_codes import check_derived, derived_columns, numbers_of
from state_machine.read_back import Position, Row, TableState, difference, position_of, read_table
from state_machine.source_states import KEPT, Kind, Source, Sources

SENTENCES = (UserError, StorageError, TableError)
"""What the command line prints as a sentence. An `OSError` is one too where storage fails, and here it does not."""


STORAGE_FAILS = "connection reset by peer"


THEIR_URI = "https://their.example/"
"""How the URIs of rows begin that other tools have added."""


class Fault(AssertionError):
    """The tables, or an answer, are not what they must be."""


def must(holds: object, why: str) -> None:
    if not holds:
        raise Fault(why)


@dataclass(frozen=True)
class Entry:
    """A manifest as the table's own record has it: what `pixlake describe` shows."""

    digest: str
    source: str
    first_shard: int
    num_shards: int
    status: str
    run_id: str
    limit: int | None

    def holds(self, position: Position) -> bool:
        return 0 <= position[0] - self.first_shard < self.num_shards


def entries_of(vectors: TableState | None, failures: TableState | None) -> list[Entry]:
    """The manifests in the metadata of both tables; of two records of one, the later."""
    latest: dict[str, dict[str, Any]] = {}
    for state in (vectors, failures):
        for key, value in state.metadata.items() if state else ():
            if key.startswith("pixlake.manifest."):
                record = json.loads(value)
                known = latest.setdefault(record["digest"], record)
                latest[record["digest"]] = max(known, record, key=lambda each: each["revision"])
    return [Entry(**{name: record[name] for name in Entry.__dataclass_fields__}) for record in latest.values()]


@dataclass
class World:
    """One pair of tables, the sources that feed it, and all that is known of both."""

    folder: Path
    kind: Kind
    stable_row_ids: bool = False
    sources: Sources = field(init=False)
    vectors: TableState | None = None
    failures: TableState | None = None
    earlier_vectors: dict[int, TableState] = field(default_factory=dict)
    """Version -> the table as it was after a step."""
    earlier_failures: dict[int, TableState] = field(default_factory=dict)
    digests: dict[tuple[str, int], str] = field(default_factory=dict)
    """(source, modification time) -> the digest under which the table knows it."""
    embedded: dict[str, Source] = field(default_factory=dict)
    """Digest -> the source that was embedded under it."""
    deleted: set[Position] = field(default_factory=set)
    """Positions that somebody deleted on purpose, or that went with a version that was restored."""
    noted: set[Position] = field(default_factory=set)
    """Positions that a run has seen in a table, noted, and ended as complete with."""
    stay_out: set[Position] = field(default_factory=set)
    """Of those that are deleted, the noted ones: no run brings them back unless it is asked to."""
    kept_out: set[Position] = field(default_factory=set)
    """Of those that are deleted, what `pixlake delete` or `--deleted keep-out` has recorded by place."""
    maybe_kept_out: set[Position] = field(default_factory=set)
    """With those of a command that was cut off, or of whose ids one was taken back: recorded, or not."""
    taken_down: set[str] = field(default_factory=set)
    """Ids that `pixlake delete` or `--deleted keep-out` has recorded."""
    maybe_taken_down: set[str] = field(default_factory=set)
    """With those of a command that was cut off: recorded, or not."""
    left_out: dict[str, set[int]] = field(default_factory=dict)
    """Digest -> rows, by their ordinal, that a run with `--skip-existing` may have left out."""
    torn: bool = False
    """One of the two tables was restored, and not the other."""
    moments: list[tuple[int, int, bool]] = field(default_factory=list)
    """Versions of both tables after each step, and whether they were torn."""
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))
    did: Counter[str] = field(default_factory=Counter)
    """Outcomes of our operations, by kind."""

    def __post_init__(self) -> None:
        self.sources = Sources(self.folder / "sources", self.kind)

    @property
    def table(self) -> str:
        return str(self.folder / "lake" / "t")

    @property
    def vectors_uri(self) -> str:
        return f"{self.table}.lance"

    @property
    def failures_uri(self) -> str:
        return f"{self.table}__failures.lance"

    def dataset(self) -> "lance.LanceDataset":
        return lance.dataset(self.vectors_uri)

    def lancedb(self, failures: bool = False) -> Any:
        """Opened anew, as another program would."""
        return lancedb.connect(str(self.folder / "lake")).open_table("t__failures" if failures else "t")

    def entries(self) -> list[Entry]:
        return entries_of(self.vectors, self.failures)

    def foreign_columns(self) -> list[str]:
        """Of others, in the vector table."""
        assert self.vectors is not None
        derived = derived_columns(self.vectors.schema)
        return [name for name in self.vectors.schema.names if name.startswith("their_") and name not in derived]

    def keep(self, vectors: TableState | None, failures: TableState | None) -> None:
        """Both tables are as they must be: they are the model from here on."""
        self.vectors, self.failures = vectors, failures
        if vectors is not None:
            self.earlier_vectors[vectors.version] = vectors
        if failures is not None:
            self.earlier_failures[failures.version] = failures
        if vectors is not None and failures is not None:
            self.moments.append((vectors.version, failures.version, self.torn))

    def look(self) -> tuple[TableState | None, TableState | None]:
        """Both tables now."""
        vectors = read_table(self.vectors_uri, self.vectors)
        if vectors is not None and (self.vectors is None or vectors.rows is not self.vectors.rows):
            check_derived(vectors, self.folder)
        return vectors, read_table(self.failures_uri, self.failures)

    def forget(self) -> None:
        """The tables are dropped, and all that was known of them."""
        self.vectors = self.failures = None
        for known in (self.earlier_vectors, self.earlier_failures, self.digests, self.left_out, self.embedded):
            known.clear()
        # What `pixlake delete` has recorded outlives the tables.
        for positions in (self.deleted, self.noted, self.stay_out, self.kept_out, self.maybe_kept_out):
            positions.clear()
        self.moments.clear()
        self.torn = False

    def taken_back(self) -> None:
        """A table was, or looks as if it were: what is gone is embedded again, under other shard numbers maybe."""
        self.maybe_kept_out |= self.kept_out
        for positions in (self.noted, self.stay_out, self.kept_out):
            positions.clear()

    def reasons(self) -> list[str]:
        """Why a run on the table may be refused as it stands."""
        if self.vectors is None or self.failures is None:
            return []
        schema = self.vectors.schema
        ours = {each.name: each.type for each in KEPT}
        found = []
        found += [f"{n}: NOT NULL" for n in self.foreign_columns() if not schema.field(n).nullable]
        found += [
            f"{name} is not as it was made"
            for name, kind in ours.items()
            if name not in schema.names or schema.field(name).type != kind or not schema.field(name).nullable
        ]
        found += ["positions twice"] * any(n > 1 for n in self.vectors.positions().values())
        return found

    def finite(self, column: str = "vector") -> list[Row]:
        """Rows that a search by cosine can find."""
        assert self.vectors is not None
        kind = self.vectors.schema.field(column).type
        return [row for row in self.vectors.rows if (v := numbers_of(row[column], kind)) is not None and v.any()]


def ours(world: World, call: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """What our operation gave, or the sentence that it ended with."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            return call(), None
        except SENTENCES as refusal:
            text = str(refusal)
            must("Traceback" not in text and ".rs:" not in text and text.strip(), f"no sentence: {text}")
            return None, refusal
        except OSError as failure:
            # Said as it is, where storage fails; it fails where a step cuts a commit off, and nowhere else.
            must(STORAGE_FAILS in str(failure), f"{type(failure).__name__}: {failure}")
            return None, failure


def check_others(before: TableState | None, after: TableState | None, *, replaced: str = "nothing") -> None:
    """Whatever we did, what others added is still there: columns with their types, indexes, tags.

    `replaced`: how the names of those indexes begin that the operation was asked to replace.
    """
    if before is None:
        return
    must(after is not None, "the table is gone")
    for each in before.schema:
        there = each.name in after.schema.names
        must(there and after.schema.field(each.name).equals(each), f"column {each.name} is gone, or another one")
    lost = {each for each in before.indexes - after.indexes if each[0].startswith("their_") or each[1] == "Inverted"}
    lost = {each for each in lost if not each[0].startswith(replaced)}
    must(not lost, f"indexes of others are gone: {lost}")
    must(before.tags == after.tags, f"tags: {before.tags} before, {after.tags} after")


def unchanged(world: World, why: str) -> None:
    """Neither table holds other rows or columns than before."""
    vectors, failures = world.look()
    for before, after in ((world.vectors, vectors), (world.failures, failures)):
        if before is None:
            # A run that was refused late may leave an empty pair.
            must(after is None or not after.rows, f"{why}: rows came")
            continue
        check_others(before, after)
        must(after.schema.names == before.schema.names, f"{why}: columns {before.schema.names} to {after.schema.names}")
        lost, came = difference(before.rows, after.rows, before.columns)
        must(not lost and not came, f"{why}: {lost} went, {came} came")
    world.keep(vectors, failures)


def is_their(row: Row) -> bool:
    return str(row["uri"]).startswith(THEIR_URI)


def pick_rows(random: random.Random, rows: Iterable[Row], most: int = 5) -> list[Row]:
    rows = list(rows)
    return random.sample(rows, min(len(rows), random.randint(1, most)))


def at_positions(rows: Iterable[Mapping[str, Any]]) -> str:
    """The SQL that holds for the rows at these positions alone."""
    places = sorted({position_of(row) for row in rows})
    return " OR ".join(f"(`shard` = {shard} AND `row` = {row})" for shard, row in places)
