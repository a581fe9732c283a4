"""All pairs of rows that are alike, in steps that go on where a kill left them."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from operators.base.columns import ID
from operators.base.failpoints import failpoint
from operators.vectors.apply import vector_type
from pipelines.duplicates.pairs.cells import POINTS_PER_CELL, cells_for, train_cells, unit_rows
from pipelines.duplicates.pairs.compare import CompareCells, cell_ranges, copies_name, read_found
from pipelines.duplicates.pairs.exact import image_keys
from pipelines.duplicates.pairs.near import PAIR, TooManyPairsError
from pipelines.duplicates.pairs.rows import MatchingRows, first_with_bytes, row_ids_of
from pipelines.duplicates.pairs.scatter import (
    CENTRES,
    SAMPLE,
    SAMPLE_IMAGES,
    SAMPLE_ROWS,
    Scatter,
    ScatterPart,
    counts_name,
    part_rows,
    record_type,
    truth_name,
)
from pipelines.duplicates.pairs.work import WorkFolder
from pipelines.space.flat import flat_numpy
from pipelines.space.samples import sample_vectors
from pipelines.space.usable_rows import usable_rows
from pipelines.table.tasks import RunTasks

RECALL_ROWS = 1000
MOST_IN_ALL = 400_000_000
"""Pairs of all cells: 5 GB as they are read, and 20 bytes each while they are grouped."""
SEED = 0


@dataclass(frozen=True, kw_only=True)
class PairSearch:
    """What is looked for. Another search does not go on with this one's work."""

    column: str
    space_digest: str
    threshold: float
    probes: int
    exact_rows: int
    """Up to so many vectors all are compared with all."""
    across_images: bool = False
    """Rows are regions: those of one image (by its id) are no duplicates of each other."""


class SearchProgress(NamedTuple):
    """How far the search is, for a person."""

    phase: Callable[[str], None]
    """Something else begins."""
    counted: Callable[[str, float | None], None]
    """It has got further, by what share of 0 to 1; it may be said often."""


class Coverage(NamedTuple):
    """How much of what is alike the search among cells has found, measured on a sample of rows."""

    rows: int
    """Rows of the sample, each compared with all rows; 0 where the search itself compared all with all."""
    pairs: int
    """Pairs of a row of the sample and any other that are alike."""
    found: int
    """Those that the search found."""


class FoundPairs(NamedTuple):
    """What is alike. Rows are numbers of `MatchingRows`."""

    node: np.ndarray
    """(N,) uint32: for each row the first row with the same bytes or the same vector, of whichever image."""
    same_bytes: np.ndarray
    """(N,) uint32: for each row the first row with the same bytes."""
    pairs: np.ndarray
    """`PAIR` records of nodes, each pair once."""
    compared: int
    """Rows with a vector and bytes of their own."""
    without_vector: int
    """Rows with bytes of their own that have no vector, or none with a direction."""
    cells: int
    coverage: Coverage


def find_pairs(
    rows: MatchingRows, search: PairSearch, work: WorkFolder, *, execute: RunTasks, tell: SearchProgress
) -> FoundPairs:
    """The pairs. Raises `TooManyPairsError` and other `UserError`s, `TableError`, `OSError`."""
    dataset = rows.table.at(rows.version)
    tell.phase("comparing sha256")
    same_bytes = first_with_bytes(rows, dataset.schema)
    alone = same_bytes == np.arange(len(rows), dtype=np.uint32)
    there = work.names()
    if CENTRES not in there:
        tell.phase("drawing samples")
        _begin(rows, dataset, search, alone, work)
    failpoint("duplicates.begun")
    kind = vector_type(dataset.schema.field(search.column).type)
    dtype = np.dtype(kind.value_type.to_pandas_dtype())
    record = record_type(dtype, kind.list_size, across_images=search.across_images)
    parts = _scatter(rows, search, alone, work, there, execute, tell)
    counts = np.stack([work.array(counts_name(number)) for number in range(parts)] or [np.zeros(2, np.int64)])
    failpoint("duplicates.scattered")
    numbers = _compare(work, record, search, counts[:, 1:], there, execute, tell)
    failpoint("duplicates.compared")
    tell.phase("reading pairs")
    pairs, copies = _read(work, numbers, search.threshold)
    node = same_bytes.copy()
    if len(copies):
        of_first = np.arange(len(rows), dtype=np.uint32)
        of_first[copies[:, 0]] = copies[:, 1]
        node, pairs = of_first[node], _of_nodes(pairs, of_first)
    compared = int(counts[:, 0].sum())
    return FoundPairs(
        node=node,
        same_bytes=same_bytes,
        pairs=pairs,
        compared=compared,
        without_vector=int(alone.sum()) - compared,
        cells=counts.shape[1] - 1,
        coverage=_coverage(work, parts, node, pairs),
    )


def _begin(rows: MatchingRows, dataset: Any, search: PairSearch, alone: np.ndarray, work: WorkFolder) -> None:
    """Choose the sample that recall is measured on, and train the centres. The centres come last: with them the folder
    has begun."""
    unique = int(alone.sum())
    dim = vector_type(dataset.schema.field(search.column).type).list_size
    sample, own, centres = np.zeros((0, dim), np.float32), np.zeros(0, np.int64), np.zeros((1, dim), np.float32)
    images = np.zeros(0, np.uint64)
    if unique > search.exact_rows:
        drawn = np.sort(np.random.default_rng(SEED).choice(len(rows), min(RECALL_ROWS, len(rows)), replace=False))
        drawn = drawn[alone[drawn]]
        table = dataset._take_rows(row_ids_of(rows, drawn).tolist(), columns=[search.column, ID.name])
        taken = table[search.column]
        usable = usable_rows(taken, "cosine")
        if usable.any():
            own, sample = drawn[usable], unit_rows(flat_numpy(taken.filter(pa.array(usable))))
            images = image_keys(table[ID.name].combine_chunks())[usable]
        cells = cells_for(unique)
        trained = sample_vectors(dataset, search.column, cells * POINTS_PER_CELL, seed=SEED)
        trained = trained[(trained != 0).any(axis=1)]
        if len(trained):
            centres = train_cells(unit_rows(trained), cells, SEED)
    work.put_array(SAMPLE_ROWS, own)
    work.put_array(SAMPLE, sample)
    work.put_array(SAMPLE_IMAGES, images)
    work.put_array(CENTRES, centres)


def _scatter(
    rows: MatchingRows,
    search: PairSearch,
    alone: np.ndarray,
    work: WorkFolder,
    there: set[str],
    execute: RunTasks,
    tell: SearchProgress,
) -> int:
    """Bring to their cells the rows of the parts that are not there yet; gives the number of all parts."""
    dataset = rows.table.at(rows.version)
    kind = vector_type(dataset.schema.field(search.column).type)
    size = part_rows(kind.list_size, kind.value_type.bit_width // 8, search.probes)
    todo, first, done = [], 0, 0
    parts = rows.parts(size)
    for part in parts:
        if counts_name(part.number) in there:
            done += part.rows
        else:
            bits = np.packbits(alone[first : first + part.rows]).tobytes()
            todo.append(ScatterPart(part=part, first=first, alone=bits))
        first += part.rows
    task = Scatter(
        rows=rows,
        work=work,
        column=search.column,
        threshold=search.threshold,
        probes=search.probes,
        across_images=search.across_images,
    )
    tell.phase(f"vectors to their cells: {done:,} of {len(rows):,} rows")
    for number in execute(task, todo):
        done += number
        tell.counted(f"vectors to their cells: {done:,} of {len(rows):,} rows", done / len(rows))
    return len(parts)


def _compare(
    work: WorkFolder,
    record: np.dtype,
    search: PairSearch,
    counts: np.ndarray,
    there: set[str],
    execute: RunTasks,
    tell: SearchProgress,
) -> int:
    """CompareCells the cells that are not compared yet; gives the number of their ranges."""
    ranges = cell_ranges(counts, record.itemsize)
    todo = [each for each in ranges if copies_name(each.number) not in there]
    task, done, pairs = CompareCells(work=work, record=record, threshold=search.threshold), 0, 0
    done = len(ranges) - len(todo)
    tell.phase(f"comparing: {done:,} of {len(ranges):,} groups of cells")
    for number in execute(task, todo):
        done, pairs = done + 1, pairs + number
        _check_number(pairs, search.threshold)
        tell.counted(f"comparing: {done:,} of {len(ranges):,} groups of cells, {pairs:,} pairs", done / len(ranges))
    return len(ranges)


def _read(work: WorkFolder, numbers: int, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """(pairs, copies) of all ranges of cells."""
    pairs, copies, count = [np.zeros(0, PAIR)], [np.zeros((0, 2), np.uint32)], 0
    for number in range(numbers):
        found = read_found(work, number)
        pairs.append(found.pairs)
        copies.append(found.copies)
        count += len(found.pairs)
        _check_number(count, threshold)
    return np.concatenate(pairs), np.concatenate(copies)


def _check_number(pairs: int, threshold: float) -> None:
    if pairs > MOST_IN_ALL:
        raise TooManyPairsError(
            f"threshold {threshold}: more than {MOST_IN_ALL:,} pairs of images are that alike; raise --threshold, or "
            "choose fewer rows with --where"
        )


def _of_nodes(pairs: np.ndarray, node: np.ndarray) -> np.ndarray:
    """Pairs of rows as pairs of the nodes that stand for them, each once, with the highest cosine."""
    one, other = node[pairs["a"]], node[pairs["b"]]
    if np.array_equal(one, pairs["a"]) and np.array_equal(other, pairs["b"]):
        return pairs
    joined = pairs.copy()
    joined["a"], joined["b"] = np.minimum(one, other), np.maximum(one, other)
    joined = joined[joined["a"] != joined["b"]]
    joined = joined[np.lexsort((-joined["cosine"], joined["b"], joined["a"]))]
    again = (joined["a"][1:] == joined["a"][:-1]) & (joined["b"][1:] == joined["b"][:-1])
    once: np.ndarray = joined[np.concatenate([np.ones(min(1, len(joined)), bool), ~again])]
    return once


def _coverage(work: WorkFolder, parts: int, node: np.ndarray, pairs: np.ndarray) -> Coverage:
    sample = node[work.array(SAMPLE_ROWS)]
    truth = np.concatenate([np.zeros((0, 2), np.uint32), *(work.array(truth_name(part)) for part in range(parts))])
    true = np.unique(_keys(node[truth[:, 0]], node[truth[:, 1]]))
    in_sample = np.zeros(len(node), bool)
    in_sample[sample] = True
    own = pairs[in_sample[pairs["a"]] | in_sample[pairs["b"]]]
    # Those with the same vector are one node, and so found.
    found = np.isin(true, _keys(own["a"], own["b"])) | (true >> np.uint64(32) == true & np.uint64(0xFFFFFFFF))
    return Coverage(rows=len(sample), pairs=len(true), found=int(found.sum()))


def _keys(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(P,) uint64: one number for each pair, in whichever order."""
    low, high = np.minimum(one, other).astype(np.uint64), np.maximum(one, other).astype(np.uint64)
    keys: np.ndarray = (low << np.uint64(32)) | high
    return keys


def request_of(rows: MatchingRows, search: PairSearch) -> dict[str, Any]:
    """All that the work depends on, JSON-ready."""
    return {"table": rows.table.uri, "version": rows.version, "where": rows.where, **asdict(search)}
