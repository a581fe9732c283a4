"""What an index answers and what a scan answers, compared row by row before the index counts."""

from collections.abc import Sequence
from typing import NamedTuple

import lance
import numpy as np
import xxhash

from pipelines.filter_questions import filter_questions, rare_questions

DRAWN = 1000
"""Rows whose values the filters are made from."""
ASKED_ROWS = 1 << 20
"""Of a larger table about so many rows, in whole fragments, are read for each filter."""


class Difference(NamedTuple):
    """A filter that an index answers otherwise than a scan does."""

    filter: str
    by_index: str
    """A number of rows, or Lance's error."""
    by_scan: str


class Trial(NamedTuple):
    """What came of asking."""

    filters: int
    """How many were answered by index and by scan."""
    difference: Difference | None
    """The first there was."""


class _Answer(NamedTuple):
    rows: int
    digest: str
    """Of the row ids in order; empty where only their number was asked for."""


class FilterTrial:
    """Filters on one column and what a scan answers to each, to be held against any index on it.

    They are made from values of rows all over the table, the same for the same table. Of a table of more than
    `ASKED_ROWS` the fragments with the first null and NaN and others at random are asked, and the whole of it how many
    nulls and NaN it holds.
    """

    def __init__(self, dataset: "lance.LanceDataset", column: str) -> None:
        kind = dataset.schema.field(column).type
        rows = dataset.count_rows()
        at = np.random.default_rng(0).choice(rows, min(rows, DRAWN), replace=False)
        drawn = dataset.take(np.sort(at).tolist(), columns=[column])[column]
        rare = rare_questions(column, kind)
        self._fragments = _some_fragments(dataset, rare) if rows > ASKED_ROWS else None
        everywhere = rare if self._fragments is not None else ()
        asked = [(filter, False) for filter in filter_questions(column, kind, drawn)]
        scanned = {each: self._ask(dataset, *each) for each in [*((filter, True) for filter in everywhere), *asked]}
        # What a scan cannot answer is no filter.
        self._scanned = {each: answer for each, answer in scanned.items() if isinstance(answer, _Answer)}

    def of(self, dataset: "lance.LanceDataset") -> Trial:
        """The same filters put to the indexes of the dataset: the same rows, with an index that may be unpublished."""
        for number, ((filter, whole), scanned) in enumerate(self._scanned.items(), start=1):
            found = self._ask(dataset, filter, whole, use_index=True)
            if found == scanned:
                continue
            by_index = found if isinstance(found, str) else f"{found.rows:,} rows"
            if isinstance(found, _Answer) and found.rows == scanned.rows:
                by_index = f"{found.rows:,} other rows"
            return Trial(number, Difference(filter, by_index, f"{scanned.rows:,} rows"))
        return Trial(len(self._scanned), None)

    def _ask(
        self, dataset: "lance.LanceDataset", filter: str, whole: bool, *, use_index: bool = False
    ) -> _Answer | str:
        """Which rows, or of the `whole` table how many; an error of Lance as text."""
        fragments = self._fragments
        if fragments is not None:
            fragments = None if whole else [dataset.get_fragment(each) for each in fragments]
        try:
            scanner = dataset.scanner(
                columns=[], filter=filter, fragments=fragments, with_row_id=True, use_scalar_index=use_index
            )
            if whole:
                return _Answer(scanner.count_rows(), "")
            row_ids = np.sort(scanner.to_table()["_rowid"].to_numpy())
            return _Answer(len(row_ids), xxhash.xxh3_128_hexdigest(row_ids.tobytes()))
        except (ValueError, RuntimeError, OSError) as error:
            return f"an error ({str(error).splitlines()[0]})"


def _some_fragments(dataset: "lance.LanceDataset", rare: Sequence[str]) -> list[int]:
    """Ids: of those with the first row of each rare kind, and of others at random until there are rows enough."""
    rows = {each.fragment_id: each.metadata.num_rows for each in dataset.get_fragments()}
    chosen = {fragment: None for where in rare for fragment in _first_with(dataset, where)}
    for each in np.random.default_rng(0).permutation(list(rows)).tolist():
        if sum(rows[there] for there in chosen) >= ASKED_ROWS:
            break
        chosen[each] = None
    return list(chosen)


def _first_with(dataset: "lance.LanceDataset", where: str) -> list[int]:
    scanner = dataset.scanner(columns=[], filter=where, limit=1, with_row_address=True, use_scalar_index=False)
    try:
        return [address >> 32 for address in scanner.to_table()["_rowaddr"].to_pylist()]
    except (ValueError, RuntimeError):
        return []
