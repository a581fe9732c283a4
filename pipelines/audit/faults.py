"""What an audit finds: faults by kind, each with how many rows or files it is about and the first few of them."""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from operators.base.errors import clean_message

FaultKind = Literal[
    "missing",
    "deleted",
    "repeated",
    "in_both",
    "stray",
    "incomplete_regions",
    "taken_down",
    "no_vector",
    "bad_vector",
    "off_norm",
    "space",
    "file_missing",
    "file_size",
    "unreadable",
    "wrong_row",
    "wrong_vector",
    "derived",
]
"""`docs/audit.md` says what each means; a test asks for its row there."""

SHOWN = 5
"""Rows, ids or files that are named in a report."""


class Fault(BaseModel):
    """One kind of fault in one place."""

    model_config = ConfigDict(frozen=True)

    kind: FaultKind
    where: str
    """`vectors` or `failures` (the tables), a vector column, or a source."""
    count: int
    """Rows, images or files."""
    what: str
    """One sentence."""
    examples: tuple[str, ...] = ()


def places(keys: np.ndarray) -> tuple[str, ...]:
    """The first few of (N,) int64 keys, `shard << 32 | row`, as `shard S row R`."""
    return tuple(f"shard {int(key) >> 32} row {int(key) & 0xFFFFFFFF}" for key in keys[:SHOWN])


def first(names: Iterable[str]) -> tuple[str, ...]:
    """The first few that differ, each as one short line: they may be ids and reasons that others wrote."""
    return tuple(clean_message(name) for name in sorted(set(names))[:SHOWN])


def about_names(kind: FaultKind, where: str, names: Sequence[str], what: str) -> list[Fault]:
    """The fault that so many names are `what`; none where there is no name."""
    if not names:
        return []
    return [Fault(kind=kind, where=where, count=len(names), what=f"{len(names):,} {what}", examples=first(names))]


def about_rows(kind: FaultKind, where: str, keys: np.ndarray, what: str) -> list[Fault]:
    """The fault that the rows or images at so many keys are `what`; none where there is no key."""
    if not len(keys):
        return []
    return [Fault(kind=kind, where=where, count=len(keys), what=f"{len(keys):,} {what}", examples=places(keys))]
