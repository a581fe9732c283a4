"""The state of each image of one part of the diff, in Arrow: rows of source and table in, rows of `Changes` out."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ERROR, ERROR_CLASS, ETAG, ID, ROW, SHA256, SHARD, SIZE_BYTES, URI
from operators.base.errors import LASTING, ErrorClass
from pipelines.refresh.changes.changes import (
    KNOWN_ETAG,
    NOTHING_TO_DO,
    OLD_CLASS,
    OLD_ETAG,
    OLD_ID,
    OLD_IN,
    OLD_ROW,
    OLD_SHA256,
    OLD_SHARD,
    OLD_SIZE_BYTES,
    OLD_URI,
    STATE,
    STATES,
    VERSION,
    ImageState,
    changes_schema,
)
from pipelines.refresh.changes.moved import Identified
from pipelines.refresh.changes.pairs import Pairs, pair
from pipelines.refresh.changes.same_values import same_values
from pipelines.refresh.changes.source_rows import KEY
from pipelines.refresh.changes.table_rows import MARKED
from pipelines.refresh.changes.versions import identities, stored_uris
from pipelines.table.positions import table_keys

UNLIKELY_TO_MEND = LASTING | {ErrorClass.BAD_URI, ErrorClass.BLOCKED_SOURCE, ErrorClass.BAD_RESPONSE}
"""Failures that are tried again when the object or its place has changed, and not before: they lie in the image, in the
manifest's row or in the settings."""
_OLD_COLUMNS = {
    "vectors": {
        OLD_ID: ID,
        OLD_SHARD: SHARD,
        OLD_ROW: ROW,
        OLD_URI: URI,
        OLD_ETAG: ETAG,
        OLD_SIZE_BYTES: SIZE_BYTES,
        OLD_SHA256: SHA256,
    },
    "failures": {OLD_ID: ID, OLD_SHARD: SHARD, OLD_ROW: ROW, OLD_URI: URI, OLD_CLASS: ERROR_CLASS},
}
"""Table -> column of `Changes` -> column of its rows."""


@dataclass(frozen=True, kw_only=True)
class HowCompared:
    """How rows of a source and of a table are compared."""

    kept: tuple[pa.Field, ...]
    """The source's kept columns."""
    compared: tuple[str, ...]
    """Those whose values are compared for themselves."""
    sized: bool
    """Whether the source says sizes: a listing does."""
    tells_content: bool
    """Whether equal versions mean equal bytes."""
    check_http: bool
    retry: frozenset[ErrorClass] = frozenset()
    """Classes of failures that are tried again though the object is what it was."""
    one_row: bool = True
    """Whether an image has one row in the vector table, and none for each region."""


@dataclass(frozen=True, kw_only=True)
class ComparedPart:
    """The outcome of one part."""

    counts: Counter[ImageState]
    twice: tuple[int, int]
    """Ids that are more than once in the source, and in the vector table."""
    copies: int
    """Rows of the vector table beyond one at a place: another tool has added them."""
    live: int
    """Images that have vectors and are not marked as deleted."""
    back: list[str]
    """Ids that are taken down and have rows in the table, each once."""
    rows: tuple[pa.Table, ...]
    """Rows of `Changes` about which something is to be done, those of one state in each."""
    new: Identified
    lost: Identified
    """Images that may be one object that has moved, in states `new`, and `deleted` or `gone`."""


def compare(
    source: pa.Table, vectors: pa.Table, failures: pa.Table, taken_down: pa.Array, how: HowCompared
) -> ComparedPart:
    """Compare all rows of some ids. `taken_down` has ids that no run may bring in, of these and others: those that
    the source has are counted, and what the table has of them is left as it is."""
    source, failures = source.combine_chunks(), failures.combine_chunks()
    rows_there, vectors = vectors.num_rows, _one_an_image(vectors.combine_chunks())
    copies = rows_there - vectors.num_rows if how.one_row else 0
    taken_down = taken_down.cast(pa.string())
    back = [table[ID.name].filter(pc.is_in(table[ID.name], taken_down)) for table in (vectors, failures)]
    rows = _PartRows(how)
    source, vectors, failures = rows.without(taken_down, source, vectors, failures)
    pairs = pair(source, vectors, failures)
    pairs = rows.without_known(source, failures, pairs)
    rows.add_pairs(source.take(pa.array(pairs.source)), vectors.take(pa.array(pairs.vectors)))
    rows.add_tried(source.take(pa.array(pairs.tried)), failures.take(pa.array(pairs.failures)))
    rows.add_rest(vectors, failures, pairs)
    new, lost = source.take(pa.array(pairs.new)), vectors.take(pa.array(pairs.lost_vectors))
    return ComparedPart(
        counts=rows.counts,
        twice=(pairs.twice_in_source, pairs.twice_in_table),
        copies=copies,
        live=int(vectors[MARKED.name].null_count),
        back=[*{each for ids in back for each in ids.to_pylist()}],
        rows=tuple(rows.rows),
        new=Identified(change_rows("new", how, source=new), _identities(new, how)),
        lost=Identified(change_rows(_lost_states(lost), how, old=lost, old_in="vectors"), _identities(lost, how)),
    )


def _one_an_image(vectors: pa.Table) -> pa.Table:
    """One row of each image: of one with a row per region, several may be there."""
    keys = table_keys(vectors)
    if len(np.unique(keys)) == len(keys):
        return vectors
    codes = vectors[ID.name].combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.lexsort((codes, keys))
    first = (np.diff(keys[order], prepend=-1) != 0) | (np.diff(codes[order], prepend=-1) != 0)
    return vectors.take(pa.array(np.sort(order[first])))


class _PartRows:
    """Gathers counts and rows."""

    def __init__(self, how: HowCompared) -> None:
        self._how = how
        self.counts: Counter[ImageState] = Counter()
        self.rows: list[pa.Table] = []

    def add_pairs(self, source: pa.Table, vectors: pa.Table) -> None:
        """Images that have vectors; row by row."""
        states = _states_of_pairs(source, vectors, self._how)
        for code in np.unique(states).tolist():
            state, mask = STATES[code], pa.array(states == code)
            asked = vectors[ETAG.name].filter(mask) if state == "asked" else None
            self._put(state, source, vectors, "vectors", mask, known_etag=asked)

    def without_known(self, source: pa.Table, failures: pa.Table, pairs: Pairs) -> Pairs:
        """The pairs without images that have vectors, whose row in the manifest is none any more, and of which just
        that is among the failures: the failure stands, as the vectors do."""
        wrong = pairs.source[_bools(source[ERROR.name].is_valid())[pairs.source]]
        if not len(wrong) or not len(pairs.stale):
            return pairs
        now = {_why(source, at) for at in wrong.tolist()}
        told = {_why(failures, at): at for at in pairs.stale.tolist()}
        known = now & told.keys()
        settled = [at for at in wrong.tolist() if _why(source, at) in known]
        keep = ~np.isin(pairs.source, settled)
        self.counts["failed"] += len(settled)
        stale = pairs.stale[~np.isin(pairs.stale, [told[why] for why in known])]
        return replace(pairs, source=pairs.source[keep], vectors=pairs.vectors[keep], stale=stale)

    def add_tried(self, source: pa.Table, failures: pa.Table) -> None:
        """Images that have failed; row by row."""
        same = pc.and_(_equal(source[VERSION.name], failures[VERSION.name]), _equal(_uris(source), failures[URI.name]))
        left = UNLIKELY_TO_MEND - self._how.retry
        lasting = pc.is_in(failures[ERROR_CLASS.name], pa.array(sorted(left), pa.string()))
        # A manifest row that is none has no version: it is the same for as long as it is wrong in the same way.
        failed = pc.or_(pc.and_(same, lasting), _equal(source[ERROR.name], failures[ERROR.name]))
        self._put("failed", source, failures, "failures", failed)
        self._put("retried", source, failures, "failures", pc.invert(failed))

    def add_rest(self, vectors: pa.Table, failures: pa.Table, pairs: Pairs) -> None:
        """Rows of the table that no row of the source is paired with, but for lost vectors."""
        self.counts["unchanged"] += len(pairs.current)
        self._put("repeated", None, vectors.take(pa.array(pairs.repeated)), "vectors")
        self._put("gone", None, vectors.take(pa.array(pairs.gone)), "vectors")
        self._put("stale", None, failures.take(pa.array(pairs.stale)), "failures")
        self._put("deleted", None, failures.take(pa.array(pairs.lost_failures)), "failures")

    def without(self, taken_down: pa.Array, source: pa.Table, *held: pa.Table) -> tuple[pa.Table, ...]:
        """The source's rows that are not taken down, and those of each table `held` that are not of one that is."""
        kept_out = pc.is_in(source[ID.name], taken_down)
        out = pc.unique(source[ID.name].filter(kept_out))
        self.counts["taken_down"] += pc.sum(kept_out).as_py() or 0
        left = [table.filter(pc.invert(pc.is_in(table[ID.name], out))) for table in held]
        return source.filter(pc.invert(kept_out)), *left

    def _put(
        self,
        state: ImageState,
        source: pa.Table | None,
        old: pa.Table,
        old_in: str,
        mask: pa.Array | None = None,
        known_etag: pa.ChunkedArray | None = None,
    ) -> None:
        count = old.num_rows if mask is None else pc.sum(mask).as_py() or 0
        self.counts[state] += count
        if not count or state in NOTHING_TO_DO:
            return
        if mask is not None:
            source, old = None if source is None else source.filter(mask), old.filter(mask)
        rows = change_rows(state, self._how, source=source, old=old, old_in=old_in)
        if known_etag is not None:
            rows = rows.set_column(rows.schema.get_field_index(KNOWN_ETAG.name), KNOWN_ETAG, known_etag)
        self.rows.append(rows)


def _why(rows: pa.Table, at: int) -> tuple[str, str]:
    return rows[KEY.name][at].as_py(), rows[ERROR.name][at].as_py()


def change_rows(
    state: str | pa.ChunkedArray,
    how: HowCompared,
    *,
    source: pa.Table | None = None,
    old: pa.Table | None = None,
    old_in: str | None = None,
) -> pa.Table:
    """Rows of `Changes` from those of the source, those of the table (that is `old_in`), or both, row by row."""
    given = source if source is not None else old
    assert given is not None
    count = given.num_rows
    made = {STATE.name: pa.repeat(state, count) if isinstance(state, str) else state}
    if old is not None and old_in is not None:
        made |= {to.name: old[name.name] for to, name in _OLD_COLUMNS[old_in].items()}
        made[OLD_IN.name] = pa.repeat(old_in, count)
    if source is not None:
        made |= {name: source[name] for name in source.column_names}
    schema = changes_schema(how.kept)
    arrays = [made[f.name].cast(f.type) if f.name in made else pa.nulls(count, f.type) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _lost_states(lost: pa.Table) -> pa.ChunkedArray:
    return pc.if_else(lost[MARKED.name].is_valid(), "gone", "deleted")


def _states_of_pairs(source: pa.Table, vectors: pa.Table, how: HowCompared) -> np.ndarray:
    """(N,) int8: the state of each image, by its place in `STATES`."""
    uris = _uris(source)
    same_place = _bools(_equal(uris, vectors[URI.name]))
    same = same_place & _bools(_equal(source[VERSION.name], vectors[VERSION.name]))
    states = np.where(same, _code("unchanged"), _code("changed")).astype(np.int8)
    elsewhere = pa.array(np.flatnonzero(~same_place))
    if len(elsewhere):
        one, other = (_identities(side.take(elsewhere), how) for side in (source, vectors))
        states[elsewhere.to_numpy()[_bools(_equal(one, other))]] = _code("moved")
    if how.check_http:
        states[same & _bools(pc.fill_null(pc.match_substring_regex(uris, "(?i)^https?://"), False))] = _code("asked")
    for name in how.compared:
        states[same & ~same_values(source[name].combine_chunks(), vectors[name].combine_chunks())] = _code("touched")
    states[same & _bools(vectors[MARKED.name].is_valid())] = _code("returned")
    return states


def _code(state: ImageState) -> int:
    return STATES.index(state)


def _identities(rows: pa.Table, how: HowCompared) -> pa.Array:
    if not how.tells_content:
        return pa.nulls(rows.num_rows, pa.string())
    sizes = rows[SIZE_BYTES.name].combine_chunks() if how.sized else None
    return identities(rows, rows[VERSION.name].combine_chunks(), sizes)


def _uris(source: pa.Table) -> pa.Array:
    return stored_uris(source[URI.name].combine_chunks())


def _equal(one: pa.Array | pa.ChunkedArray, other: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Where both have a value, and it is the same."""
    return pc.fill_null(pc.equal(one, other), False)


def _bools(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    found: np.ndarray = values.to_numpy() if isinstance(values, pa.ChunkedArray) else values.to_numpy(False)
    return found.astype(bool)
