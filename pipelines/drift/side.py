"""One side of a comparison: a vector column of a table at one version, or of some of its rows, read as floats."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from operators.base.columns import DELETED_AT, ID, REGION_ID, SHA256, URI
from pipelines.scan.plain import plain_count, plain_scan
from pipelines.search.column import SearchColumn
from pipelines.space.flat import flat_vectors
from pipelines.space.usable_rows import row_kinds

BATCH_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class Side:
    """Rows of one version of a table. Rows that are marked as deleted are none of them."""

    dataset: Any
    column: SearchColumn
    places: np.ndarray | None = None
    """(N,) int64: the rows meant, by their number in the version, sorted; None for all."""

    @property
    def live(self) -> str | None:
        """SQL for rows that are not marked as deleted; None where no row can be."""
        return live_rows(self.dataset)

    @property
    def rows(self) -> int:
        return len(self.places) if self.places is not None else plain_count(self.dataset, self.live)

    def narrowed(self, places: np.ndarray) -> "Side":
        """The rows at these places alone."""
        return replace(self, places=places)

    def batches(self, beside: Sequence[str] = ()) -> Iterator[pa.Table]:
        """All rows with the column, and others beside it."""
        columns = [*dict.fromkeys([self.column.name, *beside])]
        if self.places is None:
            for batch in plain_scan(self.dataset, columns, self.live, batch_size=BATCH_ROWS):
                yield pa.table(batch)
        else:
            yield from taken(self.dataset, self.places, columns)


def live_rows(dataset: Any) -> str | None:
    """SQL for the rows that are not marked as deleted; None where no row can be."""
    return " AND ".join(f"`{name}` IS NULL" for name in mark_columns(dataset.schema)) or None


def mark_columns(schema: pa.Schema) -> list[str]:
    """The column in which a refresh marks rows as deleted, where the table has it."""
    index = schema.get_field_index(DELETED_AT.name)
    return [DELETED_AT.name] if index >= 0 and schema.field(index).type == DELETED_AT.type else []


def live_mask(rows: pa.Table | pa.RecordBatch) -> np.ndarray:
    """(N,) bool: rows that are not marked as deleted, from their `mark_columns`."""
    mask = np.ones(rows.num_rows, bool)
    for name in mark_columns(rows.schema):
        mask &= pc.is_null(rows[name]).to_numpy(zero_copy_only=False)
    return mask


def taken(dataset: Any, places: np.ndarray, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Columns of the rows at sorted places, as tables of at most `BATCH_ROWS`."""
    for start in range(0, len(places), BATCH_ROWS):
        yield dataset.take(places[start : start + BATCH_ROWS].tolist(), columns=list(columns))


@dataclass(frozen=True, kw_only=True)
class LackingVectors:
    """Rows that have no vector to compare."""

    nothing: int
    not_finite: int
    """A NaN or an infinity in it."""
    zeros: int
    """Rows with zeros alone: they are compared, though they have no direction."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A random sample of a side, one row an image."""

    vectors: np.ndarray
    """(N, D) float32: of a row with several vectors one of them."""
    ids: pa.ChunkedArray
    uris: pa.ChunkedArray
    keys: pa.ChunkedArray
    """Of rows: their `region_id`, or `id`."""
    images: pa.ChunkedArray
    """The sha256 of the image, or its id where that is not known."""
    groups: pa.ChunkedArray | None
    rows: int
    """Rows that were drawn."""
    lacking: LackingVectors

    def __len__(self) -> int:
        return len(self.vectors)

    def part(self, at: np.ndarray) -> "Drawn":
        """Its rows at these indices."""
        index = pa.array(at)
        columns = {name: getattr(self, name).take(index) for name in ("ids", "uris", "keys", "images")}
        groups = None if self.groups is None else self.groups.take(index)
        return replace(self, vectors=self.vectors[at], groups=groups, **columns)


def draw(side: Side, count: int, *, seed: int, group: str | None = None) -> Drawn:
    """A sample of up to `count` rows, the same for the same version and seed. `group` is a column, or a field of a
    struct."""
    random = np.random.default_rng(seed)
    names = side.dataset.schema.names
    row_key = REGION_ID.name if REGION_ID.name in names else ID.name
    marks = mark_columns(side.dataset.schema)
    wanted = [ID.name, URI.name, row_key, SHA256.name, *marks, *([group] if group else [])]
    columns = [name for name in dict.fromkeys(wanted) if name.partition(".")[0] in names]
    tables: list[pa.Table] = []
    parts: list[np.ndarray] = []
    kinds = np.zeros(3, np.int64)
    rows = 0
    for found in taken(side.dataset, _places(side, count, random), [side.column.name, *columns]):
        live = found.filter(pa.array(live_mask(found)))
        rows += len(live)
        vectors, whole, counted = decoded(side.column, live, one_of=live[ID.name])
        parts.append(vectors)
        # A field of a struct is named as in a scan.
        tables.append(live.drop_columns([side.column.name]).flatten().filter(pa.array(whole)))
        kinds += counted
    drawn = pa.concat_tables(tables) if tables else _empty(side.dataset.schema, columns)
    images = drawn[ID.name] if SHA256.name not in columns else pc.coalesce(drawn[SHA256.name], drawn[ID.name])
    all_drawn = Drawn(
        vectors=np.concatenate(parts) if parts else np.zeros((0, side.column.codec.dim), np.float32),
        ids=drawn[ID.name],
        uris=drawn[URI.name],
        keys=drawn[row_key],
        images=pa.chunked_array([images]) if isinstance(images, pa.Array) else images,
        groups=drawn[group] if group else None,
        rows=rows,
        lacking=LackingVectors(nothing=int(kinds[0]), not_finite=int(kinds[1]), zeros=int(kinds[2])),
    )
    return all_drawn.part(_one_an_image(all_drawn.images, random))


def _empty(schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    outer = dict.fromkeys(name.partition(".")[0] for name in columns)
    return pa.schema([schema.field(name) for name in outer]).empty_table().flatten()


def _places(side: Side, count: int, random: np.random.Generator) -> np.ndarray:
    """(N,) int64, sorted."""
    held = side.dataset.count_rows() if side.places is None else len(side.places)
    drawn = np.sort(random.choice(held, min(count, held), replace=False))
    return drawn if side.places is None else side.places[drawn]


def _one_an_image(images: pa.ChunkedArray, random: np.random.Generator) -> np.ndarray:
    """(M,) int64, sorted: the index of one row of each image, at random. Copies, and regions of one image, say the same
    thing several times: counted apart they would make differences look sure that are not."""
    codes = pc.fill_null(images, "").combine_chunks().dictionary_encode().indices.to_numpy()
    shuffled = random.permutation(len(codes))
    _, first = np.unique(codes[shuffled], return_index=True)
    one: np.ndarray = np.sort(shuffled[first])
    return one


def decoded(
    column: SearchColumn, rows: pa.Table, one_of: pa.ChunkedArray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(vectors (M, D) float32, rows that have them (N,) bool, (3,) how many lack what).

    The vectors are what the stored codes stand for: all of a row's, or one of them, chosen by the row's id in `one_of`:
    the same on two sides. Rows with nothing or with a number that is not finite have none.
    """
    kinds = row_kinds(rows[column.name])
    whole = ~(kinds.nothing | kinds.not_finite)
    counted = np.array([kinds.nothing.sum(), kinds.not_finite.sum(), kinds.zeros.sum()], np.int64)
    if not whole.any():
        return np.zeros((0, column.codec.dim), np.float32), whole, counted
    flat = flat_vectors(rows[column.name].filter(pa.array(whole)))
    values = flat.values
    if one_of is not None and column.multivector:
        ids = one_of.filter(pa.array(whole)).to_pylist()
        chosen = np.array([xxhash.xxh3_64_intdigest((each or "").encode()) >> 1 for each in ids], np.int64)
        values = values[flat.starts[:-1] + chosen % flat.counts]
    return column.codec.decode(values).astype(np.float32, copy=False), whole, counted


def find_rows(dataset: Any, keys: pa.ChunkedArray) -> dict[str, int]:
    """Row key (`region_id`, or `id`) -> its place in the version, of those keys that are there and not marked as
    deleted."""
    name = REGION_ID.name if REGION_ID.name in dataset.schema.names else ID.name
    wanted, start = keys.unique(), 0
    found: dict[str, int] = {}
    for batch in plain_scan(dataset, [name, *mark_columns(dataset.schema)]):
        there = pc.is_in(batch[name], value_set=wanted).to_numpy(zero_copy_only=False)
        at = np.flatnonzero(there & live_mask(batch))
        for key, place in zip(batch[name].take(pa.array(at)).to_pylist(), at.tolist(), strict=True):
            found.setdefault(key, start + place)
        start += batch.num_rows
    return found
