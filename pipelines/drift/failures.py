"""Shares of failures by class in two states of a table, and whether more of what came has failed."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from operators.base.columns import POSITION_FIELDS
from pipelines.drift.side import live_rows
from pipelines.scan.plain import plain_count, plain_scan
from pipelines.table.layout import FIRST_REGION, layout_of
from pipelines.table.positions import PositionSet, table_keys

_CLASS = "error_class"
_POSITION = [field.name for field in POSITION_FIELDS]


@dataclass(frozen=True, kw_only=True)
class FailureCounts:
    """Failures of two states, and of what came between them."""

    before: Counter[str]
    """Class -> rows of the earlier failures table."""
    after: Counter[str]
    came: Counter[str]
    """Of positions that the earlier failures table did not have."""


def count_failures(before: Any, after: Any) -> FailureCounts:
    """Count two versions of a failures table."""
    earlier, later, came, there = Counter[str](), Counter[str](), Counter[str](), PositionSet()
    for batch in plain_scan(before, [_CLASS, *_POSITION]):
        earlier.update(map(str, batch[_CLASS].to_pylist()))
        there.add(table_keys(batch))
    for batch in plain_scan(after, [_CLASS, *_POSITION]):
        later.update(map(str, batch[_CLASS].to_pylist()))
        new = pa.array(~there.contains(table_keys(batch)))
        came.update(map(str, batch[_CLASS].filter(new).to_pylist()))
    return FailureCounts(before=earlier, after=later, came=came)


def count_images(dataset: Any) -> int:
    """Images of a vector table that are not marked as deleted, whatever regions they have."""
    conditions = [live_rows(dataset), FIRST_REGION if layout_of(dataset.schema) == "rows" else None]
    return plain_count(dataset, " AND ".join(each for each in conditions if each) or None)


def more_failures_by_chance(failed: int, of: int, came_failed: int, came: int) -> float:
    """The chance that `came_failed` or more of `came` images would fail if they failed as often as all others (Fisher's
    exact test, one-sided). Before, `failed` of `of` did."""
    failures, images = failed + came_failed, of + came
    low, high = max(came_failed, failures + came - images), min(failures, came)
    if came_failed <= max(0, failures + came - images):
        return 1.0
    hits = np.arange(low, high, dtype=np.float64)
    # Terms of the hypergeometric distribution, each from the one before.
    steps = np.log((failures - hits) * (came - hits)) - np.log((hits + 1) * (images - failures - came + hits + 1))
    first = _log_choose(failures, low) + _log_choose(images - failures, came - low) - _log_choose(images, came)
    terms = np.exp(first + np.concatenate([[0.0], np.cumsum(steps)]))
    return float(min(1.0, terms.sum()))


def _log_choose(total: int, chosen: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)
