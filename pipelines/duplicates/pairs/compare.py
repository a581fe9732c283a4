"""The cells of a table compared, some at a time: their vectors gathered from all parts, the pairs written as work."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from pipelines.duplicates.pairs.near import PAIR, CellPairs, cell_pairs
from pipelines.duplicates.pairs.scatter import records_name
from pipelines.duplicates.pairs.work import WorkFolder

_GROUP_BYTES = 256 << 20
"""Of the records of cells that are compared in one piece of work; a larger cell is one by itself."""


@dataclass(frozen=True, kw_only=True)
class CellRange:
    """Consecutive cells, and where their records lie in each of P parts."""

    number: int
    firsts: np.ndarray
    """(P,) int64: the first record of the cells."""
    counts: np.ndarray
    """(P, cells) int64: records of each cell, which follow each other."""


@dataclass(frozen=True, kw_only=True)
class CompareCells:
    """The work on all ranges of cells. Declared on the driver, pickled to workers."""

    work: WorkFolder
    record: np.dtype
    threshold: float

    def __call__(self, cells: CellRange) -> int:
        """Write the pairs of the cells, then their copies, which says that they are done; gives how many pairs. Raises
        `TooManyPairsError`, and as `WorkFolder` does."""
        records, cells_of = self._gathered(cells)

        def compare(some: np.ndarray) -> CellPairs:
            own = records[some]
            images = own["image"] if "image" in (self.record.names or ()) else None
            return cell_pairs(own["row"], own["home"], own["vector"], self.threshold, images)

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
        for part, (first, own) in enumerate(zip(cells.firsts.tolist(), cells.counts, strict=True)):
            start, size = first * self.record.itemsize, int(own.sum()) * self.record.itemsize
            if size:
                gathered.append(np.frombuffer(self.work.read(records_name(part), start, start + size), self.record))
                numbers.append(np.repeat(np.arange(len(own)), own))
        of_record = np.concatenate(numbers)
        ends = np.cumsum(cells.counts.sum(axis=0))
        return np.concatenate(gathered), np.split(np.argsort(of_record, kind="stable"), ends[:-1])


def _threads() -> int:
    """Ray tells its tasks how many by this variable; without, all CPUs that this process may use."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) else len(os.sched_getaffinity(0))


def cell_ranges(counts: np.ndarray, record_bytes: int) -> list[CellRange]:
    """Ranges that cover all cells, by the number of records (P, C) of each cell in each part."""
    of_cell = counts.sum(axis=0)
    stops, waiting = list[int](), 0
    for cell, count in enumerate(of_cell.tolist()):
        if waiting and (waiting + count) * record_bytes > _GROUP_BYTES:
            stops.append(cell)
            waiting = 0
        waiting += count
    firsts = np.zeros(len(counts), np.int64)
    ranges: list[CellRange] = []
    for own in np.split(counts, stops, axis=1):
        ranges.append(CellRange(number=len(ranges), firsts=firsts, counts=own))
        firsts = firsts + own.sum(axis=1)
    return ranges


def read_found(work: WorkFolder, number: int) -> CellPairs:
    """What was written of a range of cells."""
    pairs = np.frombuffer(work.read(pairs_name(number)), PAIR)
    return CellPairs(pairs, work.array(copies_name(number)))


def pairs_name(number: int) -> str:
    return f"pairs-{number:06d}.bin"


def copies_name(number: int) -> str:
    return f"copies-{number:06d}.npy"
