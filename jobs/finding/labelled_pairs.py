"""Pairs of images that a person has looked at, and said of each whether the two are duplicates."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from jobs.querying.query_file import read_rows, texts_of
from operators.base.errors import UserError
from operators.storage.stores import StorageOptions

ONE, OTHER, LABEL = "id_1", "id_2", "duplicate"
_YES, _NO = {"1", "true", "yes"}, {"0", "false", "no"}


class LabelledPairs(NamedTuple):
    """P pairs of ids."""

    one: list[str]
    other: list[str]
    duplicate: np.ndarray
    """(P,) bool."""


def read_labelled_pairs(uri: str, where: str, storage: StorageOptions) -> LabelledPairs:
    """The pairs of a .csv, .parquet or .jsonl with the columns `id_1`, `id_2` and `duplicate`. Raises `UserError` with
    the column or the row that is wrong; it begins with `where`."""
    rows = read_rows(uri, where, storage, texts=(ONE, OTHER, LABEL))
    missing = [name for name in (ONE, OTHER, LABEL) if name not in rows.column_names]
    if missing:
        raise UserError(
            f"{where}: has the columns {', '.join(rows.column_names)}; it needs {ONE}, {OTHER} and {LABEL} (1 or 0)"
        )
    if pa.types.is_boolean(rows.schema.field(LABEL).type) or pa.types.is_integer(rows.schema.field(LABEL).type):
        rows = rows.set_column(rows.column_names.index(LABEL), LABEL, rows[LABEL].cast(pa.string()))
    one, other, labels = (texts_of(rows, name, where) for name in (ONE, OTHER, LABEL))
    told = []
    for at, (first, second, label) in enumerate(zip(one, other, labels, strict=True)):
        word = (label or "").strip().lower()
        if not first or not second or first == second:
            raise UserError(f"{where}: row {at} must name two different ids in {ONE} and {OTHER}")
        if word not in _YES | _NO:
            raise UserError(f"{where}: row {at} has {LABEL} {label!r}; write 1 or 0")
        told.append(word in _YES)
    return LabelledPairs([each or "" for each in one], [each or "" for each in other], np.array(told, bool))
