"""The columns of regions: the manifest's for each image, and `regions` as it comes out."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from operators.base.arrays import rebuild_lists
from operators.base.columns import BOX, REGION
from operators.base.errors import UserError
from operators.regions.boxes import Regions
from operators.regions.options import BoxesOptions, PatchesOptions


def given_columns(options: BoxesOptions | PatchesOptions) -> dict[str, str]:
    """Argument of `given.given_regions` -> the column of the manifest that holds it."""
    named = {"boxes": options.column, "labels": options.labels, "scores": options.scores}
    return {what: column for what, column in named.items() if column is not None}


def check_given_columns(options: BoxesOptions | PatchesOptions, schema: pa.Schema) -> None:
    """Raises `UserError` unless each column that the options name holds lists, or text that may be lists in JSON."""
    for what, column in given_columns(options).items():
        kind = schema.field(column).type
        lists = _is_list(kind) and (what != "boxes" or _is_list(kind.value_type))
        if not (lists or pa.types.is_string(kind) or pa.types.is_null(kind)):
            wanted = "a list of lists of four numbers" if what == "boxes" else "a list"
            raise UserError(
                f"regions: column {column!r} is {kind}; {what} of an image are {wanted}, or such a list as JSON text"
            )


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def given_rows(batch: pa.Table, options: BoxesOptions | PatchesOptions) -> list[dict[str, Any]]:
    """The arguments of `given.given_regions` for each row."""
    columns = given_columns(options)
    values = [batch[column].to_pylist() for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def json_of(given: dict[str, Any]) -> bytes:
    """What is given of one row as JSON, for another process. A value that JSON cannot express becomes text, which is
    never a valid box."""
    return json.dumps(given, default=str).encode()


def regions_from_numpy(
    kinds: Sequence[str],
    boxes: np.ndarray,
    labels: Sequence[str | None],
    scores: Sequence[float | None],
    lengths: np.ndarray,
    valid: np.ndarray,
) -> pa.ListArray:
    """The column `regions` of N rows from the regions of all rows end to end: boxes (M, 4), and M of each other.

    `lengths` (N,) are the regions of each row; a row is null where not `valid` (N,).
    """
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    corners = [pa.array(np.ascontiguousarray(boxes[:, at], np.float32)) for at in range(4)]
    values = [
        pa.array(kinds, pa.string()),
        pa.array((np.arange(len(boxes)) - starts).astype(np.int32)),
        pa.StructArray.from_arrays(corners, fields=list(BOX)),
        pa.array(labels, pa.string()),
        pa.array(scores, pa.float32()),
    ]
    return rebuild_lists(pa.StructArray.from_arrays(values, fields=list(REGION.type)), lengths, valid)


def regions_column(rows: Sequence[Regions | None]) -> pa.ListArray:
    """The column `regions` of N rows; null where a row has none."""
    found = [each for each in rows if each is not None]
    return regions_from_numpy(
        [kind for each in found for kind in each.kinds],
        np.concatenate([np.zeros((0, 4), np.float32), *(each.boxes for each in found)]),
        [label for each in found for label in each.labels],
        [score for each in found for score in each.scores],
        np.array([0 if each is None else len(each.boxes) for each in rows], np.int64),
        np.array([each is not None for each in rows], bool),
    )
