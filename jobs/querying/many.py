"""Many queries at once: every row is compared with each of them, in one pass over the column."""

from typing import Any

import numpy as np
from pydantic import BaseModel

from jobs.querying.answers import answer_rows, answer_schema
from jobs.querying.query_file import NamedQueries
from jobs.reports.row_file import row_file
from jobs.session.progress import working
from operators.base.counted import counted
from operators.base.errors import UserError, printable, row_line
from pipelines.search.column import SearchColumn
from pipelines.search.many import nearest_images_of_many
from pipelines.search.scan import scan
from pipelines.search.vectors import Asking, many_query_vectors
from pipelines.space.flat import Metric


class UnansweredQuery(BaseModel):
    """A query that has no vector."""

    query: str
    reason: str


class ManyResult(BaseModel):
    """What was asked, and where the answers are."""

    table: str
    column: str
    metric: Metric
    """Of `score`."""
    queries: int
    results: int
    """Rows of `out`."""
    unanswered: list[UnansweredQuery]
    """Queries without a vector, such as those of an image that is no image: they have no rows in `out`."""
    out: str


def answer_many(
    asking: Asking,
    queries: NamedQueries,
    out: str,
    dataset: Any,
    column: SearchColumn,
    k: int,
    where: str | None,
    *,
    group: bool,
) -> ManyResult:
    """Find the k nearest rows to each query (with `group`, images), and write them to `out`. Raises `UserError`,
    `OSError` where storage fails."""
    vectors = many_query_vectors(asking, queries.queries, dataset, column, working)
    failed = {name: each for name, each in zip(queries.names, vectors, strict=True) if isinstance(each, UserError)}
    good = {name: each for name, each in zip(queries.names, vectors, strict=True) if isinstance(each, np.ndarray)}
    find = nearest_images_of_many if group else scan
    with working(f"comparing {counted(len(good), 'query', 'queries')} with {counted(dataset.count_rows(), 'row')}"):
        found = find(dataset, column, list(good.values()), k, where=where) if good else []
    with working(f"writing {out}"), row_file(out, answer_schema(dataset.schema), asking.storage) as write:
        for rows in answer_rows(dataset, column, list(good), list(good.values()), found):
            write(rows)
    return ManyResult(
        table=str(asking.table),
        column=column.name,
        metric=column.metric,
        queries=len(queries.names),
        results=sum(len(each.row_ids) for each in found),
        unanswered=[UnansweredQuery(query=name, reason=printable(str(error))) for name, error in failed.items()],
        out=out,
    )


def many_as_text(found: ManyResult) -> str:
    """One line of what is written, and one for each query without an answer."""
    lines = [f"{counted(found.queries, 'query', 'queries')}: {counted(found.results, 'result')} in {found.out}"]
    lines += [row_line(f"no vector for query {each.query!r}: {each.reason}") for each in found.unanswered]
    return "\n".join(map(printable, lines))
