"""A batch's rows on their way to a decoder and back, as Arrow: pixels, regions and failures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from operators.base.arrays import pixels_from_numpy, rebuild_lists
from operators.base.errors import Failure
from operators.decoding.hand_over import Results
from operators.decoding.shared_rows import DONE, ERROR_CLASSES, FAILED
from operators.regions.boxes import KINDS, WHOLE
from operators.regions.columns import regions_from_numpy
from operators.regions.given import labels_and_scores


def pixel_arrays(results: Results, *, cut: bool) -> list[pa.Array]:
    """Per target the rows' pixels, as lists where regions were `cut`; null where the row failed."""
    good = results.records["state"] == DONE
    if not cut:
        return [pixels_from_numpy(each, good) for each in results.pixels]
    every = np.ones(len(results.regions), bool)
    lengths = results.records["slots"]
    return [rebuild_lists(pixels_from_numpy(each, every), lengths, good) for each in results.pixels]


def regions_array(results: Results, given: Sequence[Mapping[str, Any]] | None) -> pa.ListArray:
    """The column `regions`; labels and scores are those `given` with each row's boxes, null for all other regions."""
    good, lengths = results.records["state"] == DONE, results.records["slots"]
    kinds = [KINDS[kind] for kind in results.regions["kind"].tolist()]
    labels: list[str | None] = [None] * len(kinds)
    scores: list[float | None] = [None] * len(kinds)
    first = 0
    for row, length in enumerate(lengths.tolist()):
        last = first + length
        if given is not None and kinds[first:last] and kinds[first] != WHOLE:
            labels[first:last], scores[first:last] = labels_and_scores(given[row], length)
        first = last
    return regions_from_numpy(kinds, results.regions["box"], labels, scores, lengths, good)


def failures_of(records: np.ndarray) -> dict[int, Failure]:
    """Row index -> why the row failed."""
    return {int(row): _failure(records[row]) for row in np.flatnonzero(records["state"] == FAILED)}


def _failure(record: np.void) -> Failure:
    error = ERROR_CLASSES[record["error"]]
    message = record["message"].decode("utf-8", "replace")
    return Failure(error_class=error, message=message, attempts=max(int(record["attempts"]), 1))
