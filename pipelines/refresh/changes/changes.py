"""What a refresh has to do, as a diff of source and table found it: a count for each state, and a row for each image
that something is to be done about."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import pyarrow as pa

from operators.base.columns import ERROR, ETAG, ID, ROW, SHA256, SHARD, SIZE_BYTES, URI

ImageState = Literal[
    "unchanged",
    "new",
    "changed",
    "moved",
    "touched",
    "returned",
    "deleted",
    "retried",
    "asked",
    "failed",
    "stale",
    "repeated",
    "gone",
    "taken_down",
]
"""One for each image of the source, and for each of the table's that the source has no longer:

- `unchanged`: the row says what the source says. Nothing to do.
- `new`: the table has no row of the id. Also a manifest row that is none (`error` says why): it becomes a failure.
- `changed`: the source has another version, or another place, for the id than the row. To be fetched; equal bytes
  (`OLD_SHA256`) mean that it was only touched.
- `moved`: the same object in another place. The row is carried, with the new id and uri.
- `touched`: the same object; other values in the manifest's kept columns. The row is carried, with those.
- `returned`: the row is marked as deleted, and the object is there again as it was. The row is carried, unmarked.
- `deleted`: the source has it no longer. `OLD_IN` says whether a vector or a failure is to go.
- `retried`: a failure that is tried again.
- `asked`: unchanged as far as the manifest says; its server is asked over HTTP, by `KNOWN_ETAG` where that is not null.
- `failed`: a failure that another try would not mend. Nothing to do.
- `stale`: a failure of an image that has a vector, or of which a later failure is there. The failure is to go.
- `repeated`: one more row of an id, and not what the source says: what another of its rows is, or becomes. To go.
- `gone`: marked as deleted, and still not in the source. Nothing to do unless deleted rows are dropped.
- `taken_down`: in the source, and no run may bring it in. Nothing to do.
"""
STATES: tuple[ImageState, ...] = get_args(ImageState)
NOTHING_TO_DO: frozenset[ImageState] = frozenset({"unchanged", "failed", "taken_down"})
"""States that are counted and have no rows in the parts."""

# Their names have dots, which no kept column's has.
STATE = pa.field("change.state", pa.string(), nullable=False)
VERSION = pa.field("change.version", pa.string())
"""What the source says of the object's version: the etag of a listing, the texts of a manifest's version columns. Null
where it says nothing, so that nothing is known to be unchanged."""
KNOWN_ETAG = pa.field("change.known_etag", pa.string())
"""Of `asked` images: the etag to send, or the date of its last change where a server gave no etag."""
POSITION = pa.field("change.position", pa.int64())
"""Number of the row in the source, from 0."""

OLD_ID = pa.field("old.id", pa.string())
OLD_IN = pa.field("old.in", pa.string())
OLD_SHARD = SHARD.with_name("old.shard").with_nullable(True)
OLD_ROW = ROW.with_name("old.row").with_nullable(True)
OLD_URI = pa.field("old.uri", pa.string())
OLD_ETAG = ETAG.with_name("old.etag")
OLD_SIZE_BYTES = SIZE_BYTES.with_name("old.size_bytes")
OLD_SHA256 = SHA256.with_name("old.sha256")
OLD_CLASS = pa.field("old.error_class", pa.string())
OLD_FIELDS = (OLD_ID, OLD_IN, OLD_SHARD, OLD_ROW, OLD_URI, OLD_ETAG, OLD_SIZE_BYTES, OLD_SHA256, OLD_CLASS)
"""The image's row in the table, all null where it has none: `OLD_IN` is `vectors` or `failures`; etag, size and sha256
as the table has them are those of a vector, the class is that of a failure."""


def changes_schema(kept: Sequence[pa.Field]) -> pa.Schema:
    """Columns of the rows of `Changes`. What the source says (`id`, `uri` in full with signatures, the kept columns,
    `error`, version, position) is null for rows of which it says nothing."""
    return pa.schema([STATE, ID, URI, *kept, ERROR, VERSION, POSITION, KNOWN_ETAG, *OLD_FIELDS])


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The diff. Its rows lie in files on local scratch, until the block of `find_changes` is left."""

    counts: Mapping[ImageState, int]
    """Every state, with 0 where there is none."""
    schema: pa.Schema
    kept: tuple[pa.Field, ...]
    """The source's kept columns, as the table has them or would have them."""
    allowed_roots: tuple[str, ...]
    """Local folders from which the source's images may be read."""
    notices: tuple[str, ...]
    """What the user should know, one line each."""
    versions: Mapping[str, int]
    """The version of each table, `vectors` and `failures`, that was compared."""
    takedowns_unfinished: bool
    """Whether a delete was ended between its record and the rows, which go with the next change."""
    live: int
    """Images of this source in the vector table that are not marked as deleted."""
    folder: str

    @property
    def nothing(self) -> bool:
        """Whether the table is as the source is, if rows that are marked as deleted may stay."""
        idle = {*NOTHING_TO_DO, "gone"}
        return not self.takedowns_unfinished and not any(
            count for state, count in self.counts.items() if state not in idle
        )

    def rows(self, *states: ImageState) -> Iterator[pa.RecordBatch]:
        """The rows of these states, streamed, state after state; within one, in no order that means anything."""
        for state in states:
            path = part_path(self.folder, state)
            if os.path.exists(path):
                with pa.OSFile(path) as file, pa.ipc.open_stream(file) as stream:
                    yield from stream


def part_path(folder: str, state: ImageState) -> str:
    """The file with the rows of one state."""
    return f"{folder}/{state}.arrow"
