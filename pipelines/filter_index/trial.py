"""What an index answers and what a scan answers, compared row by row before the index counts."""

from collections.abc import Sequence
from typing import NamedTuple

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.filter_index.questions import filter_questions, rare_questions

DRAWN = 1000
"""Rows whose values the filters are made from."""
ASKED_ROWS = 1 << 20
"""Rows that are read for each filter: in a larger table only about so many, in whole fragments."""


class Difference(NamedTuple):
    """A filter that an index answers otherwise than a scan does."""

    filter: str
    by_index: str
    """The index's answer: a number of rows, or Lance's error."""
    by_scan: str


class Trial(NamedTuple):
    """The result of asking an index."""

    filters: int
    """Filters that were asked, by index and by scan."""
    difference: Difference | None
    """The first difference that was found."""


class _Answer(NamedTuple):
    """A set of rows: their number, and the sum of their ids, each hashed, in uint64."""

    rows: int = 0
    mixed: int = 0

    def and_these(self, row_ids: np.ndarray) -> "_Answer":
        return _Answer(self.rows + len(row_ids), (self.mixed + int(_mixed(row_ids).sum(dtype=np.uint64))) % (1 << 64))


class FilterTrial:
    """Filters on one column and what a scan answers to each, to be held against any index on it.

    The filters are made from values of rows all over the table, the same for the same table. In a table of more than
    `ASKED_ROWS` they are asked of the fragments with the first null and NaN and others at random; which rows are null
    or NaN is asked of all of it.
    """

    def __init__(self, dataset: "lance.LanceDataset", column: str) -> None:
        kind = dataset.schema.field(column).type
        rows = dataset.count_rows()
        at = np.random.default_rng(0).choice(rows, min(rows, DRAWN), replace=False)
        drawn = dataset.take(np.sort(at).tolist(), columns=[column])[column]
        rare = rare_questions(column, kind)
        self._dataset = dataset
        self.fragments: list[int] | None = _some_fragments(dataset, rare) if rows > ASKED_ROWS else None
        whole = [(filter, True) for filter in rare] if self.fragments is not None else []
        self._questions = [*whole, *((filter, False) for filter in filter_questions(column, kind, drawn))]
        self._guessed = self._in_one_pass()
        self._scanned: dict[tuple[str, bool], _Answer | str] = {}

    def of(self, dataset: "lance.LanceDataset") -> Trial:
        """Ask the dataset's indexes the same filters. The dataset has the same rows, with an index that may be
        unpublished."""
        for number, (filter, whole) in enumerate(self._questions, start=1):
            found = self._ask(dataset, filter, whole, use_index=True)
            if found == self._guessed.get(filter) and not whole:
                continue
            scanned = self._scan(filter, whole)
            # What a scan cannot answer is no filter.
            if isinstance(scanned, str) or found == scanned:
                continue
            by_index = found if isinstance(found, str) else f"{found.rows:,} rows"
            if isinstance(found, _Answer) and found.rows == scanned.rows:
                by_index = f"{found.rows:,} other rows"
            return Trial(number, Difference(filter, by_index, f"{scanned.rows:,} rows"))
        return Trial(len(self._questions), None)

    def _in_one_pass(self) -> dict[str, _Answer]:
        """The answer to each filter, computed as columns in one pass, which saves fifty scans: the same rows, unless a
        literal is read otherwise in a column. Where an answer differs from the index, the scan itself decides."""
        filters = [filter for filter, whole in self._questions if not whole]
        scanner = self._dataset.scanner(
            columns={f"f{at}": filter for at, filter in enumerate(filters)},
            fragments=self._there(self._dataset),
            with_row_id=True,
        )
        answers = [_Answer()] * len(filters)
        try:
            for batch in scanner.to_batches():
                row_ids = batch["_rowid"].to_numpy()
                held = (
                    pc.fill_null(batch[f"f{at}"], False).to_numpy(zero_copy_only=False) for at in range(len(filters))
                )
                answers = [answer.and_these(row_ids[each]) for answer, each in zip(answers, held, strict=True)]
        except (ValueError, RuntimeError, OSError, pa.ArrowException):
            return {}
        return dict(zip(filters, answers, strict=True))

    def _scan(self, filter: str, whole: bool) -> _Answer | str:
        asked = (filter, whole)
        if asked not in self._scanned:
            self._scanned[asked] = self._ask(self._dataset, filter, whole, use_index=False)
        return self._scanned[asked]

    def _there(self, dataset: "lance.LanceDataset") -> "list[lance.LanceFragment] | None":
        return None if self.fragments is None else [dataset.get_fragment(each) for each in self.fragments]

    def _ask(self, dataset: "lance.LanceDataset", filter: str, whole: bool, *, use_index: bool) -> _Answer | str:
        """The rows that match, of the asked fragments or of the `whole` table; an error of Lance as text."""
        answer = _Answer()
        try:
            scanner = dataset.scanner(
                columns=[],
                filter=filter,
                fragments=None if whole else self._there(dataset),
                with_row_id=True,
                use_scalar_index=use_index,
            )
            for batch in scanner.to_batches():
                answer = answer.and_these(batch["_rowid"].to_numpy())
        except (ValueError, RuntimeError, OSError) as error:
            return f"an error ({str(error).splitlines()[0]})"
        return answer


def _mixed(row_ids: np.ndarray) -> np.ndarray:
    """The ids hashed (splitmix64), so that two different sets of ids practically never have the same sum."""
    mixed = row_ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _some_fragments(dataset: "lance.LanceDataset", rare: Sequence[str]) -> list[int]:
    """Ids of fragments with the first row of each rare kind, and of others at random until there are rows enough."""
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
