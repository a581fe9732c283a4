"""The cells of a table compared, some at a time: their vectors gathered from all parts, the pairs written as work."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from pipelines.duplicates.pairs.near import PAIR, CellPairs, cell_pairs
from pipelines.duplicates.pairs.scatter import counts_name, records_name
from pipelines.duplicates.pairs.work import WorkFolder

_GROUP_BYTES = 256 << 20
"""Of the records of cells that are compared in one piece of work; a larger cell is one by itself."""


@dataclass(frozen=True, kw_only=True)
class CellRange:
    """Cells `start` up to `stop`, and where their records lie in each part."""

    number: int
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class CompareCells:
    """The work on all ranges of cells. Declared on the driver, pickled to workers."""

    work: WorkFolder
    parts: int
    record: np.dtype
    threshold: float

    def __call__(self, cells: CellRange) -> int:
        """Write the pairs of the cells, then their copies, which says that they are done; gives how many pairs. Raises
        `TooManyPairsError`, and as `WorkFolder` does."""
        records, cells_of = self._gathered(cells)

        def compare(some: np.ndarray) -> CellPairs:
            own = records[some]
            return cell_pairs(own["row"], own["home"], own["vector"], self.threshold)

        # A thread a cell: most cells are too small for one product to be worth several.
        with threadpool_limits(1), ThreadPoolExecutor(_threads()) as threads:
            found = list(threads.map(compare, cells_of))
        pairs = np.concatenate([np.zeros(0, PAIR), *(each.pairs for each in found)])
        copies = np.concatenate([np.zeros((0, 2), np.uint32), *(each.copies for each in found)])
        self.work.put(pairs_name(cells.number), pairs.tobytes())
        self.work.put_array(copies_name(cells.number), copies)
        return len(pairs)

    def _gathered(self, cells: CellRange) -> tuple[np.ndarray, list[np.ndarray]]:
        """The records of all these cells, and for each cell which of them are its own, in the order of their rows."""
        gathered, numbers = [np.zeros(0, self.record)], [np.zeros(0, np.int64)]
        for part in range(self.parts):
            counts = self.work.array(counts_name(part))[1:]
            own = counts[cells.start : cells.stop]
            start = int(counts[: cells.start].sum()) * self.record.itemsize
            size = int(own.sum()) * self.record.itemsize
            if size:
                gathered.append(np.frombuffer(self.work.read(records_name(part), start, start + size), self.record))
                numbers.append(np.repeat(np.arange(len(own)), own))
        of_record = np.concatenate(numbers)
        ends = np.cumsum(np.bincount(of_record, minlength=cells.stop - cells.start))
        return np.concatenate(gathered), np.split(np.argsort(of_record, kind="stable"), ends[:-1])


def _threads() -> int:
    """Ray tells its tasks how many by this variable; without, all CPUs that this process may use."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) else len(os.sched_getaffinity(0))


def cell_ranges(counts: np.ndarray, record_bytes: int) -> list[CellRange]:
    """Ranges that cover all cells, by the number of records (C,) in each."""
    ranges: list[CellRange] = []
    start, waiting = 0, 0
    for cell, count in enumerate(counts.tolist()):
        if waiting and (waiting + count) * record_bytes > _GROUP_BYTES:
            ranges.append(CellRange(number=len(ranges), start=start, stop=cell))
            start, waiting = cell, 0
        waiting += count
    ranges.append(CellRange(number=len(ranges), start=start, stop=len(counts)))
    return ranges


def read_found(work: WorkFolder, number: int) -> CellPairs:
    """What was written of a range of cells."""
    pairs = np.frombuffer(work.read(pairs_name(number)), PAIR)
    return CellPairs(pairs, work.array(copies_name(number)))


def pairs_name(number: int) -> str:
    return f"pairs-{number:06d}.bin"


def copies_name(number: int) -> str:
    return f"copies-{number:06d}.npy"
