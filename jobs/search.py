"""`pixlake search`: the images nearest to images, words and rows of the table, or to the queries of a file."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, Field, field_serializer, field_validator, model_validator

from jobs.config.read import PastReadConfig
from jobs.querying.asked import LIKE, UNLIKE, AskedPart, Examples, asked_parts
from jobs.querying.many import ManyResult, answer_many
from jobs.querying.query_file import read_queries
from jobs.reports.row_file import check_ending
from jobs.reports.shown_values import json_ready
from jobs.session.progress import working
from operators.api.options import NO_API_OPTIONS, ApiOptions
from operators.base.errors import UserError, row_line
from operators.fetching.options import FetchOptions
from operators.models.saved.card import TeacherSpace
from pipelines.filter_index.trust import hides_vectors
from pipelines.index.deleted_entries import may_give_deleted
from pipelines.index.records import column_metric, read_index_record, unindexed_rows, vector_indexes
from pipelines.neighbours.nearest import Nearest
from pipelines.scan.live import live_rows
from pipelines.scan.where import filtered, row_filter
from pipelines.search.column import SearchColumn, search_column
from pipelines.search.example import Query
from pipelines.search.group import nearest_images
from pipelines.search.nearest import Probe, nearest
from pipelines.search.regions import Box, box_text, split_box
from pipelines.search.rows import check_about_regions, found_rows, image_ids, with_found
from pipelines.search.vectors import Asking, Working, query_vectors
from pipelines.space.bridge import Bridge, BridgeLoss, BridgeRecord, QueryWay, bridged_column, open_bridge
from pipelines.space.check import check_reduction
from pipelines.space.choose import choose_column
from pipelines.space.field import read_space
from pipelines.space.flat import Metric
from pipelines.space.record import base_record
from pipelines.space.taught import TaughtWay, taught_way, teacher_of
from pipelines.table.landing import lancedb_line
from pipelines.table.table import Table

SCORES: dict[Metric, str] = {
    "cosine": "cosine",
    "dot": "inner product (dot)",
    "l2": "minus the distance (l2)",
    "hamming": "cosine of the bits (hamming)",
}
"""What the score of a metric is, to a person."""

DISTANCE = "_distance"


class SearchSettings(PastReadConfig):
    """How a query is answered, whatever it is."""

    group: bool = False
    """Each image once, by its best region."""
    column: str | None = None
    """The vector column to search in; must be given where there are several."""
    rescore: str | None = None
    """A finer column of the same model, which re-ranks the candidates."""
    bridge: str | None = None
    """A bridge of the table: the query is embedded by the new model that it was fitted for, and searches the old
    column that it leads to."""
    by_teacher: bool = False
    """The query is embedded by the teacher of the column's model, which was taught to be found so."""
    candidates: int | None = Field(default=None, ge=1)
    """Rows that are re-ranked; 10 k unless given."""
    k: int = Field(default=10, ge=1)
    where: str | None = None
    """SQL on the table's columns, applied before the search."""
    nprobes: int | None = Field(default=None, ge=1)
    """Partitions of the index to look into; unless given, as many as the index was measured with."""
    refine: int | None = Field(default=None, ge=1)
    """Candidates of the index that are compared exactly, as a multiple of k; unless given, as the index was measured
    with."""
    exact: bool = False
    """Compare with every row, whatever index there is."""
    fetch: FetchOptions = FetchOptions()
    api: ApiOptions = NO_API_OPTIONS
    """Settings for a table whose model is asked over the network."""


class SearchConfig(SearchSettings, Examples):
    """One query, by an example to be like at least; or the queries of a file."""

    box: Annotated[Box | None, BeforeValidator(split_box)] = None
    """The part of the one `image` to search by: x0, y0, x1, y1 in pixels, or in fractions of its sides if none is
    over 1."""
    queries: str | None = None
    """A file of queries: `jobs.querying.query_file`. Every row is compared with each of them, in one pass."""
    out: str | None = None
    """The file for the answers to `queries`, whose ending says the format: `.parquet`, `.jsonl` or `.csv`."""

    @field_validator("out")
    @classmethod
    def _format_is_known(cls, value: str | None) -> str | None:
        return None if value is None else check_ending(value)

    @model_validator(mode="after")
    def _a_query_or_many(self) -> "SearchConfig":
        if (self.queries is None) != (self.out is None):
            raise ValueError("--queries FILE (what is asked) and --out FILE (what is found) belong together")
        if self.queries is not None:
            own = ("box", "rescore", "bridge", "by_teacher", "candidates", "nprobes", "refine")
            given = [name for name in (*LIKE, *UNLIKE, "weights", *own) if getattr(self, name) not in (None, (), False)]
            if given:
                name = given[0].replace("_", "-")
                raise ValueError(f"--{name} is about one query, and --queries asks many, of every row: leave it out")
        elif not self.count:
            raise ValueError("give at least one --image, --text or --id to be like, or --queries FILE")
        if self.box is not None and len(self.image) != 1:
            raise ValueError("--box is about --image: the region of it to search by; give one image")
        if self.candidates is not None and self.rescore is None:
            raise ValueError("--candidates is of --rescore: name the finer column")
        others = [name for name in ("text", "id", "not_text", "not_id") if getattr(self, name)]
        if self.bridge is not None and (others or not self.image):
            raise ValueError(
                "--bridge is about --image: it is fitted on vectors of images, and what it loses of words is not known"
            )
        if self.by_teacher and (others or not self.image or self.bridge is not None):
            raise ValueError(
                "--by-teacher is about --image alone: what a teacher's words find among its student's vectors is not "
                "known"
            )
        return self


class BridgeUse(BaseModel):
    """The bridge that a query came over."""

    name: str
    model: str
    """What embedded the query."""
    loss: BridgeLoss


class TeacherUse(BaseModel):
    """The teacher that embedded a query of its student's column."""

    model: str
    recall: float
    """recall@k across, as the student's card has it."""
    k: int
    queries: int
    """Held-out images that it was measured on."""


class SearchResult(BaseModel):
    """Rows of the table, the nearest first, without their vectors."""

    table: str
    column: str
    rescored_by: str | None
    metric: Metric
    """Metric of `score`, which orders the results: that of the index on the column (of `rescored_by` where given),
    exact or not; without an index `cosine`, for packed bits `hamming`."""
    index: str | None
    """The index that was used, whoever built it."""
    unindexed_rows: int
    """Rows that the index does not cover: they were compared one by one."""
    bridge: BridgeUse | None = None
    teacher: TeacherUse | None = None
    query: list[AskedPart]
    results: list[dict[str, Any]]
    """Each row's columns and its `score`, the nearer the larger: the cosine to the query, 1 for the same direction; for
    `dot` the inner product, for `l2` minus the distance. In a table of regions, `region` is the one that was found;
    where a row has all regions of its image, the best one. A column of the table that itself has such a name becomes
    `column.score` or `column.region`."""

    @field_serializer("results", when_used="json")
    def _results_as_json(self, results: list[dict[str, Any]]) -> Any:
        return json_ready(results)


@dataclass(frozen=True, kw_only=True)
class FoundIn:
    """The answer to one query, and Lance's ids of its rows."""

    result: SearchResult
    row_ids: np.ndarray


def run(config: SearchConfig) -> SearchResult:
    """Search by one query. Raises `UserError` for a query that cannot be embedded or a filter that is not SQL."""
    with working(f"opening {config.table}"):
        dataset = config.vectors
    return search_in(config, config.query(config.box), dataset, working).result


def search_in(
    config: SearchSettings, query: Query, dataset: Any, working: Working, *, serving: bool = False
) -> FoundIn:
    """As `run`, in a table that is open; `working` is told what takes a while. `serving`: queries of strangers go on
    coming (`pipelines.search.query.query_chain`)."""
    config = _checked(config, dataset)
    way, name = _way_in(config, dataset)
    columns = [_search_column(config, dataset, name)]
    if config.rescore is not None:
        columns.append(_finer_column(config, dataset, name))
    queries = query_vectors(_asking(config, serving=serving), query, dataset, columns, working, way)
    with working(f"searching {dataset.count_rows():,} rows"):
        if config.group:
            ids = partial(image_ids, dataset)
            found = nearest_images(partial(_nearest, config, dataset, columns, queries), ids, config.k)
        else:
            found = _nearest(config, dataset, columns, queries, config.k)
        rows = found_rows(dataset, found, columns[-1], queries[-1])
    results = [with_found(row, {"score": float(score)}) for row, score in zip(rows, found.scores, strict=True)]
    used = [] if config.exact or hides_vectors(dataset, name) else vector_indexes(dataset, name)
    result = SearchResult(
        table=config.table,
        column=name,
        rescored_by=config.rescore,
        metric=columns[-1].metric,
        index=used[0].name if used else None,
        unindexed_rows=unindexed_rows(dataset, name) if used else 0,
        bridge=_use(way.record) if isinstance(way, Bridge) else None,
        teacher=_teacher_use(way) if isinstance(way, TaughtWay) else None,
        query=asked_parts(query),
        results=results,
    )
    return FoundIn(result=result, row_ids=found.row_ids)


def run_many(config: SearchConfig) -> ManyResult:
    """Answer the queries of a file, by comparing every row with each. Raises `UserError`, `OSError` where storage
    fails."""
    assert config.queries is not None
    assert config.out is not None
    queries, out = read_queries(config.queries, config.storage), config.out
    with working(f"opening {config.table}"):
        dataset = config.vectors
    checked = _checked(config, dataset)
    column = _search_column(checked, dataset, choose_column(config.table, dataset.schema, config.column))
    where = " AND ".join(f"({each})" for each in (live_rows(dataset.schema), checked.where) if each) or None
    return answer_many(_asking(config), queries, out, dataset, column, config.k, where, group=config.group)


def _checked(config: SearchSettings, dataset: Any) -> SearchSettings:
    """The settings, with a filter that is known to work on the table."""
    _check_searchable(config.table, dataset)
    if config.where is not None:
        config = config.model_copy(update={"where": row_filter(dataset, config.where)})
    if config.group:
        check_about_regions(config.table, dataset.schema)
    return config


def _way_in(config: SearchSettings, dataset: Any) -> tuple[QueryWay | None, str]:
    """The way by which another model's query comes, where one is asked for, and the column to search."""
    if config.by_teacher:
        name = choose_column(config.table, dataset.schema, config.column)
        return _by_teacher(config, dataset, name), name
    if config.bridge is None:
        return None, choose_column(config.table, dataset.schema, config.column)
    stored = config.stored
    bridge = open_bridge(config.table, dataset.metadata, config.bridge, stored.artifacts, stored.storage)
    return bridge, bridged_column(config.table, dataset.schema, bridge.record, config.column)


def _by_teacher(config: SearchSettings, dataset: Any, name: str) -> TaughtWay:
    field = dataset.schema.field(name)
    model = read_space(field, config.table)[1]
    taught = teacher_of(model)
    if taught is None:
        raise UserError(
            f"table {config.table}: the vectors of {name} are of {model.spec.name}, in a space of its own: no other "
            "model's queries find them. Search without --by-teacher, or distil a student with --space teacher"
        )
    return taught_way(config.table, field, taught, _where_teachers_are(config, dataset, taught))


def _where_teachers_are(config: SearchSettings, dataset: Any, taught: TeacherSpace) -> Iterator[pa.Schema]:
    """The table's own schema, then that of the table which the student was taught from, if it is there."""
    yield dataset.schema
    with contextlib.suppress(UserError, OSError):
        yield Table.of(taught.table, config.storage_of_table).latest().schema


def _teacher_use(way: TaughtWay) -> TeacherUse:
    taught = way.taught
    return TeacherUse(model=way.model.spec.name, recall=taught.recall, k=taught.k, queries=taught.queries)


def _use(record: BridgeRecord) -> BridgeUse:
    return BridgeUse(name=record.name, model=record.model.spec.name, loss=record.loss)


def _asking(config: SearchSettings, *, serving: bool = False) -> Asking:
    return Asking(table=config.stored, fetch=config.fetch, storage=config.storage, api=config.api, serving=serving)


def _check_searchable(table: str, dataset: Any) -> None:
    """Raises `UserError` where a column of the table has the name that Lance gives to distances."""
    if DISTANCE in dataset.schema.names:
        rename = f"alter_columns({{'path': {DISTANCE!r}, 'rename': 'distance'}})"
        raise UserError(
            f"table {table}: has a column {DISTANCE}, which Lance's search adds to what it finds, so no search can "
            f"read the table. Rename it: {lancedb_line(dataset.uri, rename)}"
        )


def _search_column(config: SearchSettings, dataset: Any, name: str) -> SearchColumn:
    """The column to search. Raises `SpaceError` where this Pixlake would embed the query otherwise than it embedded the
    rows."""
    field = dataset.schema.field(name)
    check_reduction(field, config.table)
    metric = column_metric(dataset, name)
    return search_column(field, config.storage_of_table, artifacts=config.stored.artifacts, metric=metric)


def _finer_column(config: SearchSettings, dataset: Any, coarse: str) -> SearchColumn:
    schema = dataset.schema
    name = choose_column(config.table, schema, config.rescore)
    there, finer = (base_record(read_space(schema.field(each), config.table)[0]) for each in (coarse, name))
    if there != finer:
        raise UserError(
            f"table {config.table}: --rescore {name}: its vectors are of another model than those of {coarse}, so the "
            "query is not the same; name a column of the same model"
        )
    return _search_column(config, dataset, name)


def _nearest(
    config: SearchSettings, dataset: Any, columns: list[SearchColumn], queries: list[np.ndarray], k: int
) -> Nearest:
    record = read_index_record(dataset, columns[0].name)
    probe = Probe(
        nprobes=config.nprobes or (record.nprobes if record else None),
        refine=config.refine or (record.refine if record else None),
        exact=config.exact,
        mask_deleted=not config.exact and may_give_deleted(dataset, columns[0].name),
    )
    finer = (columns[1], queries[1]) if len(columns) > 1 else None
    with filtered(dataset, config.where):
        return nearest(
            dataset,
            columns[0],
            queries[0],
            k,
            where=config.where,
            probe=probe,
            rescore=finer,
            candidates=config.candidates,
            marked_too=False,
        )


def bridge_text(bridge: BridgeUse) -> str:
    """What a query over a bridge loses, in one line."""
    loss = bridge.loss
    return (
        f"over the bridge {bridge.name}: queries by {bridge.model} find {loss.recall:.1%} of the {loss.k} "
        f"nearest that its own column would, measured on {loss.queries:,} rows of the table"
    )


def teacher_text(teacher: TeacherUse, column: str) -> str:
    """What a teacher's query finds of its student's vectors, in one line."""
    return (
        f"{column} is a student's: queries by its teacher, {teacher.model}, find {teacher.recall:.1%} of the "
        f"{teacher.k} nearest that the teacher's own vectors would, measured on {teacher.queries:,} images that it had "
        "not seen"
    )


def as_text(found: SearchResult) -> str:
    """A line a result: score, URI, a region's label and box, and the id; and what the score is."""
    if not found.results:
        return "no rows match"
    return "\n".join([*(row_line(_line(row)) for row in found.results), f"score: {SCORES[found.metric]}"])


def _line(row: dict[str, Any]) -> str:
    line = f"{row['score']:.4f}  {row['uri']}"
    region = row.get("region")
    if isinstance(region, dict) and region.keys() >= {"kind", "label", "box"}:
        about = " ".join(part for part in (region["kind"], region["label"]) if part)
        line += f"  {about} {box_text(region['box'].values())}"
    return f"{line}  {_short(row.get('region_id', row['id']))}"


def _short(row_id: Any) -> str:
    """An id as it is shown: of a hash (with the number of its region) the first 8 digits; any other whole."""
    return re.sub(r"^([0-9a-f]{8})[0-9a-f]{24}(?=$|#)", r"\1…", str(row_id))
