"""The most frequent reason why rows of a manifest failed, read from the failures table."""

from collections import Counter, defaultdict
from typing import Any

from pydantic import BaseModel

from jobs.reports.remedies import remedy
from pipelines.scan.plain import plain_scan

_MOST_ERRORS = 1000
"""Different errors counted of a class: those that name a file each differ in every row."""


class FrequentFailure(BaseModel):
    """The class of most failures, and the most frequent error of that class."""

    error_class: str
    rows: int
    """Failures of this class."""
    error: str
    remedy: str


def exceeds(failures: int, vectors: int, max_failed: float) -> bool:
    """Whether a larger share of the rows that were tried failed than may."""
    return failures > max_failed * (failures + vectors)


def most_frequent(
    failures: Any, first_shard: int, num_shards: int, *, refreshed: bool = False
) -> FrequentFailure | None:
    """Of the rows of a manifest's shards in an open failures table; None where there are none. `refreshed`: refreshes
    keep the table to the source, and take its failures again."""
    classes, errors = Counter[str](), defaultdict[str, Counter[str]](Counter)
    where = f"`shard` >= {first_shard} AND `shard` < {first_shard + num_shards}"
    for batch in plain_scan(failures, ["error_class", "error"], where):
        for error_class, error in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            classes[error_class] += 1
            if len(errors[error_class]) < _MOST_ERRORS or error in errors[error_class]:
                errors[error_class][error or ""] += 1
    if not classes:
        return None
    [(name, rows)] = classes.most_common(1)
    error = errors[name].most_common(1)[0][0]
    return FrequentFailure(error_class=name, rows=rows, error=error, remedy=remedy(name, refreshed))
