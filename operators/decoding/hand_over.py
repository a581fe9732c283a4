"""Hands images to a decoder through shared memory, a few rows at a time, and collects all that comes back."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from operators.decoding.kept_memory import KeptMemory
from operators.decoding.shared_rows import DONE, ROWS, SOURCE_BYTES, SharedRows

Take = Callable[[], None]
Work = Callable[[int, Take], None]
"""`work(count, take)` brings the first `count` shared records to DONE or FAILED. It calls `take` when the slots are
full, and at the end; after each call all slots are free again."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """The results of N rows, with the pixels of S slots: one a row or, where regions are cut, one a region."""

    records: np.ndarray
    """(N,) of `RECORD`, each DONE or FAILED; `slots` says how many of the S belong to the row, in the rows' order."""
    regions: np.ndarray
    """(S,) of `REGION_RECORD`; without meaning where no regions are cut."""
    pixels: list[np.ndarray]
    """Per target (S, bytes of one slot) uint8."""


def hand_over(
    shared: SharedRows, images: Sequence[memoryview], given: Sequence[bytes] | None, work: Work, memory: KeptMemory
) -> Results:
    """Decode all images, in groups that fit the shared memory, each with what is `given` of its regions (JSON), if
    anything. The results lie in `memory`."""
    records = np.empty(len(images), shared.records.dtype)
    outs = [_Pile(part, len(images), memory) for part in (shared.regions, *shared.pixels)]
    for start, stop in runs(images):
        shared.put(images[start:stop], None if given is None else given[start:stop])
        ours = shared.records[: stop - start]
        slots = np.zeros(stop - start, np.int32)

        def take(start: int = start, ours: np.ndarray = ours, slots: np.ndarray = slots) -> None:
            taken, rows = int(ours["slots"].sum()), start + int((ours["state"] >= DONE).sum())
            for out in outs:
                out.add(taken, of_rows=rows / len(images))
            slots += ours["slots"]
            ours["slots"] = 0

        work(stop - start, take)
        records[start:stop] = ours
        records["slots"][start:stop] = slots
    regions, *pixels = (out.array[: out.count] for out in outs)
    return Results(records=records, regions=regions, pixels=pixels)


class _Pile:
    """Copies of the first slots of `shared`, end to end. The number of slots of all rows shows only as they are
    decoded: room is made for what the rows so far let expect, and only what is written becomes memory."""

    def __init__(self, shared: np.ndarray, capacity: int, memory: KeptMemory) -> None:
        self.array = memory.empty((capacity, *shared.shape[1:]), shared.dtype)
        self.count = 0
        self._shared = shared
        self._memory = memory

    def add(self, slots: int, *, of_rows: float) -> None:
        """Add the first slots; `of_rows` is the fraction of all rows that is done with them."""
        end = self.count + slots
        if end > len(self.array):
            larger = self._memory.empty((math.ceil(1.1 * end / of_rows), *self.array.shape[1:]), self.array.dtype)
            larger[: self.count] = self.array[: self.count]
            self.array = larger
        self.array[self.count : end] = self._shared[:slots]
        self.count = end


def runs(images: Sequence[memoryview]) -> Iterator[tuple[int, int]]:
    """Consecutive rows, at most `ROWS` and `SOURCE_BYTES` together; a larger image alone."""
    start, total = 0, 0
    for index, image in enumerate(images):
        if index > start and (total + image.nbytes > SOURCE_BYTES or index - start == ROWS):
            yield start, index
            start, total = index, 0
        total += image.nbytes
    if images:
        yield start, len(images)
