"""What `pixlake evaluate` measured: the JSON that it stores, what its plot is drawn from, and the text for a person."""

from collections.abc import Sequence

from pydantic import BaseModel

from operators.base.counted import counted


class WayResult(BaseModel):
    """One way of searching: a column, with or without its index, with or without rescoring."""

    name: str
    column: str
    made: str
    """How the column's vectors are made."""
    metric: str
    """The metric of the search: that of the column's index, else `cosine`, or `hamming` for packed bits."""
    index: str | None
    """The index that is used; None compares with every row."""
    index_type: str | None
    nprobes: int | None
    """Partitions that a query looks into; None leaves it to Lance."""
    refine: int | None
    unindexed_rows: int | None
    """Rows that the index does not hold: they are compared one by one."""
    rescored: bool
    """Whether ten candidates per result were re-ranked by the model's own column."""
    bytes_per_vector: float
    """Bytes read per vector to find candidates: of the index where there is one, else of the column."""
    build_seconds: float | None
    """Seconds it took to build the index, or the column where `pixlake reduce` made it; None where embed jobs made all
    of it, and where it is not recorded."""
    build_rows: int | None
    """Rows of the column that these seconds filled; embed jobs fill those that come later. None for an index."""
    recall: dict[int, float]
    """recall@k: k -> mean share of the true nearest k that a search for k finds. k is 1, 10 and 100, or as many as
    there are rows."""
    p50_ms: float | None
    """Median milliseconds of one search for 10 at a time, in one process, the table's files as warm as the searches
    before leave them; None where none was timed."""
    p99_ms: float | None
    timed_queries: int
    accuracy: dict[int, float]
    """k -> share of the queries whose label is that of most of their k nearest; empty without labels."""
    mean_average_precision: float | None
    """Mean average precision (mAP) over the rows with the query's label, all rows ranked; None without labels, and
    where not all rows are ranked."""


class ColumnsOfModel(BaseModel):
    """All ways of searching among the vectors of one model."""

    column: str
    """What the model fills: the true neighbours are found in it, in float32, by its metric."""
    model: str
    dim: int
    rows: int
    """Rows with a vector in the column."""
    queries: int
    ways: list[WayResult]


class Evaluation(BaseModel):
    """The outcome of one `pixlake evaluate`."""

    table: str
    version: int
    made_at: str
    seed: int
    label: str | None
    models: list[ColumnsOfModel]
    not_measured: dict[str, str]
    """Column -> why it was not measured."""
    marked_deleted: int = 0
    """Rows that a refresh has marked as deleted: they are left out, as in searches."""
    json_file: str
    plot_file: str


def as_text(evaluation: Evaluation) -> str:
    """A table for each model, what was left out, and where the files are."""
    lines: list[str] = []
    for group in evaluation.models:
        lines += [
            f"{group.column}: {group.model}, {group.dim}-d, {group.rows:,} rows; {group.queries:,} of them as queries, "
            f"each without itself; {_timed(group)}",
            *aligned([_heading(group.ways[0]), *map(_cells, group.ways)]),
            "",
        ]
    lines += [f"not measured  {name}: {why}" for name, why in evaluation.not_measured.items()]
    if evaluation.marked_deleted:
        marked = counted(evaluation.marked_deleted, "row that is", "rows that are")
        lines.append(f"left out  {marked} marked as deleted, as searches do")
    lines += [f"JSON  {evaluation.json_file}", f"plot  {evaluation.plot_file}"]
    return "\n".join(lines)


def _timed(group: ColumnsOfModel) -> str:
    numbers = sorted({way.timed_queries for way in group.ways})
    if numbers == [0]:
        return "none timed"
    return f"{' to '.join(f'{number:,}' for number in dict.fromkeys((numbers[0], numbers[-1])))} timed a way"


def _heading(way: WayResult) -> list[str]:
    heading = ["way", "metric", "bytes", *(f"recall@{k}" for k in way.recall), "p50 ms", "p99 ms", "built in s"]
    return heading + ([*(f"{k}-NN" for k in way.accuracy), "mAP"] if way.accuracy else [])


def _cells(way: WayResult) -> list[str]:
    shares = [f"{share:.3f}" for share in way.recall.values()]
    times = ["" if each is None else f"{each:,.1f}" for each in (way.p50_ms, way.p99_ms)]
    built = "" if way.build_seconds is None else f"{way.build_seconds:,.1f}"
    cells = [way.name, way.metric, f"{way.bytes_per_vector:,.0f}", *shares, *times, built]
    if way.accuracy:
        mean = way.mean_average_precision
        cells += [*(f"{share:.3f}" for share in way.accuracy.values()), "" if mean is None else f"{mean:.3f}"]
    return cells


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, numbers to the right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
