"""Filter indexes of a release whose indexes had no `pixlake_` names: recognised, so that new ones replace them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lance
from lance.dataset import Index

from operators.storage.stores import StorageOptions
from pipelines.filter_index.kinds import KINDS
from pipelines.filter_index.stored import passed_over
from pipelines.filter_index.trust import filter_indexes, index_kind
from pipelines.index.segments import segments_of

_BY_LANCE = {kind.replace("_", ""): kind for kind in KINDS}


@dataclass(frozen=True, kw_only=True)
class Former:
    """A piece of an index named `COLUMN_idx`."""

    column: str
    kind: str
    segment: Index
    passed_over: bool
    """Whether this Lance passes it over, because its format is a newer one's."""

    @property
    def name(self) -> str:
        return f"{self.column}_idx"


def filter_kind(index: Any) -> str | None:
    """The index's kind, one of `KINDS`; None for any other."""
    return _BY_LANCE.get(index_kind(index))


def former_indexes(dataset: "lance.LanceDataset", always: Sequence[str], storage: StorageOptions) -> list[Former]:
    """All filter indexes of a table that an earlier release has indexed, those of the columns `always` last.

    That release gave each of these columns a BTREE, in a format of Lance 14 that this Lance passes over. As long as one
    of these is there, every `COLUMN_idx` counts as that release's work; otherwise it is LanceDB's own default name.
    """
    hidden = [
        Former(column=each.column, kind="BTREE", segment=each.segment, passed_over=True)
        for each in passed_over(dataset, storage)
        if each.name == f"{each.column}_idx"
    ]
    if not any(each.column in always for each in hidden):
        return []
    seen = [
        Former(column=index.field_names[0], kind=kind, segment=segment, passed_over=False)
        for index in filter_indexes(dataset)
        if index.name == f"{index.field_names[0]}_idx" and (kind := filter_kind(index)) is not None
        for segment in segments_of(dataset, [index])
    ]
    return sorted(seen + hidden, key=lambda each: each.column in always)
