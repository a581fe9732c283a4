"""Which images differ between two sets of rows: pure functions on Arrow tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.base.columns import ERROR_CLASS, ETAG, ID, SHA256, URI
from pipelines.versions.states import DELETED_AT

ImageChange = Literal["added", "changed", "touched", "moved", "deleted", "failed", "failure_gone"]
"""What became of an image between two states:

- `added`: it is there, and was not, or was marked as deleted.
- `changed`: its bytes (`sha256`) are others; where a side has no `sha256`, its etag or uri.
- `touched`: the same bytes with another etag.
- `moved`: the same bytes under another uri or id.
- `deleted`: it was there, and is gone, or is marked (`deleted_at`).
- `failed`, `failure_gone`: it has come into the failures table, or left it.
"""
DIFFERENCES: tuple[ImageChange, ...] = get_args(ImageChange)

CHANGE = pa.field("change", pa.string(), nullable=False)
_SAID = (URI.name, ETAG.name, SHA256.name)
ROWS = pa.schema(
    [
        CHANGE,
        *(pa.field(f"{side}{name}", pa.string()) for name in (ID.name, *_SAID) for side in ("", "old_")),
        DELETED_AT,
        ERROR_CLASS,
    ]
)
"""A row of the differences. What begins with `old_` is of the earlier state, the rest of the later one; null where the
image is not there."""


@dataclass(frozen=True, kw_only=True)
class ImageDifferences:
    """The images of some ids that differ, as rows of `ROWS`."""

    unchanged: int
    settled: pa.Table
    """`changed`, `touched`, and `moved` to another uri."""
    added: pa.Table
    deleted: pa.Table
    """One of each with the same `sha256` are one image that has another id now."""


def compare_images(before: pa.Table, after: pa.Table) -> ImageDifferences:
    """Compare all rows (`IMAGES`) of some ids. Rows that are marked as deleted count as not there."""
    marked = after.filter(after[DELETED_AT.name].is_valid())
    before, after = (side.filter(side[DELETED_AT.name].is_null()) for side in (before, after))
    old, new, unchanged = _without_common(before, after)
    at_old, at_new = pair_equal(old[ID.name], new[ID.name])
    alone_old, alone_new = _others(at_old, old.num_rows), _others(at_new, new.num_rows)
    lost = old.take(alone_old)
    marks = marked[DELETED_AT.name].take(pc.index_in(lost[ID.name], value_set=marked[ID.name]))
    return ImageDifferences(
        unchanged=unchanged,
        settled=_settled(old.take(pa.array(at_old)), new.take(pa.array(at_new))),
        added=_as_rows("added", after=new.take(alone_new)),
        deleted=_as_rows("deleted", before=lost, more={DELETED_AT.name: marks}),
    )


def pair_moved(added: pa.Table, deleted: pa.Table) -> tuple[pa.Table, pa.Table, pa.Table]:
    """(moved, added, deleted): of rows of `ROWS` with all those of some contents, what came and what went with the same
    `sha256` are one image. Rows without one are left."""
    at_added, at_deleted = pair_equal(added[SHA256.name], deleted[f"old_{SHA256.name}"])
    came, went = added.take(pa.array(at_added)), deleted.take(pa.array(at_deleted))
    columns = {name: came[name] for name in (ID.name, *_SAID)}
    columns |= {f"old_{name}": went[f"old_{name}"] for name in (ID.name, *_SAID)}
    left = (side.take(_others(at, side.num_rows)) for side, at in ((added, at_added), (deleted, at_deleted)))
    return _table("moved", columns, came.num_rows), *left


def compare_failures(before: pa.Table, after: pa.Table) -> pa.Table:
    """Rows of `ROWS` for failures (`FAILURES`) that came or went. One of another class stays what it is."""
    come = after.filter(pc.invert(pc.is_in(after[ID.name], value_set=before[ID.name])))
    gone = before.filter(pc.invert(pc.is_in(before[ID.name], value_set=after[ID.name])))
    said = (ID.name, URI.name, ERROR_CLASS.name)
    return pa.concat_tables(
        [
            _table("failed", {name: come[name] for name in said}, come.num_rows),
            _table(
                "failure_gone",
                {name if name == ERROR_CLASS.name else f"old_{name}": gone[name] for name in said},
                gone.num_rows,
            ),
        ]
    )


def pair_equal(left: pa.ChunkedArray, right: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (int64) of two columns, paired: of a value that is there several times the first with the first, the
    second with the second. Nulls are paired with nothing."""
    values = pa.chunked_array([*left.chunks, *right.chunks], left.type)
    codes = _codes(values)
    known = _bools(values.is_valid())
    sides = np.split(codes, [len(left)]), np.split(known, [len(left)])
    keys = [_with_rank(side, len(codes)) for side in sides[0]]
    rows = [np.flatnonzero(side) for side in sides[1]]
    _, at_left, at_right = np.intersect1d(keys[0][rows[0]], keys[1][rows[1]], assume_unique=True, return_indices=True)
    return rows[0][at_left], rows[1][at_right]


def _with_rank(codes: np.ndarray, most: int) -> np.ndarray:
    """(N,) numbers of which no two are the same: a code, and how often it was there before."""
    order = np.argsort(codes, kind="stable")
    first = np.flatnonzero(np.diff(codes[order], prepend=-1))
    ranks = np.empty(len(codes), np.int64)
    ranks[order] = np.arange(len(codes)) - np.repeat(first, np.diff(np.append(first, len(codes))))
    return codes * (most + 1) + ranks


def _without_common(before: pa.Table, after: pa.Table) -> tuple[pa.Table, pa.Table, int]:
    """(rows of `before` alone, rows of `after` alone, rows of both), each that is there several times once."""
    both = pa.concat_tables([before, after])
    codes = np.zeros(both.num_rows, np.int64)
    for name in (ID.name, *_SAID):
        column = _codes(both[name])
        codes = np.unique(codes * (column.max(initial=0) + 1) + column, return_inverse=True)[1]
    (old, at_old), (new, at_new) = (np.unique(side, return_index=True) for side in np.split(codes, [before.num_rows]))
    alone = before.take(pa.array(np.sort(at_old[~np.isin(old, new)])))
    return alone, after.take(pa.array(np.sort(at_new[~np.isin(new, old)]))), len(np.intersect1d(old, new))


def _codes(values: pa.ChunkedArray) -> np.ndarray:
    """(N,) int64: a number for each value, the same for equal ones, nulls too."""
    encoded = values.combine_chunks().dictionary_encode(null_encoding="encode")
    indices: np.ndarray = encoded.indices.to_numpy().astype(np.int64)
    return indices


def _settled(old: pa.Table, new: pa.Table) -> pa.Table:
    """What became of images that are on both sides and differ, row by row."""
    same_bytes = _equal(old[SHA256.name], new[SHA256.name])
    same_uri = _equal(old[URI.name], new[URI.name])
    change = np.where(same_bytes, np.where(same_uri, "touched", "moved"), "changed")
    return _as_rows(pa.array(change, pa.string()), before=old, after=new)


def _as_rows(
    change: str | pa.Array,
    *,
    before: pa.Table | None = None,
    after: pa.Table | None = None,
    more: Mapping[str, Any] = {},
) -> pa.Table:
    columns = dict(more)
    for prefix, side in (("old_", before), ("", after)):
        if side is not None:
            columns |= {f"{prefix}{name}": side[name] for name in (ID.name, *_SAID)}
    [rows, *_] = [side.num_rows for side in (before, after) if side is not None]
    return _table(change, columns, rows)


def _table(change: str | pa.Array, columns: Mapping[str, Any], rows: int) -> pa.Table:
    given = {CHANGE.name: pa.repeat(change, rows) if isinstance(change, str) else change, **columns}
    return pa.Table.from_arrays(
        [given[field.name] if field.name in given else pa.nulls(rows, field.type) for field in ROWS], schema=ROWS
    )


def _equal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> np.ndarray:
    return _bools(pc.fill_null(pc.equal(one, other), False))


def _bools(values: pa.ChunkedArray) -> np.ndarray:
    found: np.ndarray = values.to_numpy()
    return found.astype(bool)


def _others(taken: np.ndarray, rows: int) -> pa.Array:
    """Numbers of the rows that are not among those taken."""
    return pa.array(np.setdiff1d(np.arange(rows), taken))
