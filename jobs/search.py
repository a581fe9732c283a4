"""`pixlake search`: the images nearest to an image, to words, or to a row of the table."""

import os
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, Field, model_validator

from jobs.open_table import ReadConfig, choose_column, open_vectors, sql_text
from jobs.progress import working
from operators.api_options import NO_API_OPTIONS, ApiOptions
from operators.canaries import Canaries
from operators.errors import UserError
from operators.fetch import FetchConfig
from operators.models.spec import ModelDescription
from operators.uris import split_uri
from pipelines.query import embed_image, embed_text, query_chain
from pipelines.space import Record, read_canaries, read_space, vector_columns


class SearchConfig(ReadConfig):
    """One query. Exactly one of `image`, `text` and `id` is given."""

    image: str | None = None
    """A local path or any URI that `fetch` reads."""
    text: str | None = None
    id: str | None = None
    column: str | None = None
    """The vector column to search in; must be given where there are several."""
    k: int = Field(default=10, ge=1)
    where: str | None = None
    """SQL on the table's columns, applied before the search."""
    fetch: FetchConfig = FetchConfig()
    api: ApiOptions = NO_API_OPTIONS
    """Of a table whose model is asked over the network."""

    @model_validator(mode="after")
    def _one_query(self) -> "SearchConfig":
        given = [name for name in ("image", "text", "id") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of --image, --text and --id, not {len(given)}")
        return self


class SearchResult(BaseModel):
    """Rows of the table, the nearest first, without their vectors."""

    table: str
    column: str
    query: dict[str, str]
    results: list[dict[str, Any]]
    """Each row's columns and its `score`: the cosine to the query, 1 for the same direction."""


def run(config: SearchConfig) -> SearchResult:
    """Raises `UserError` for a query that cannot be embedded or a filter that is not SQL."""
    dataset = open_vectors(config.table, config.storage_of_table)
    column = choose_column(config.table, dataset.schema, config.column)
    vectors = vector_columns(dataset.schema)
    columns = [name for name in dataset.schema.names if name not in vectors]
    query_vector = _query_vector(config, dataset, column)
    nearest = {"column": column, "q": query_vector, "k": config.k, "metric": "cosine"}
    try:
        rows = dataset.to_table(
            columns=[*columns, "_distance"], nearest=nearest, filter=config.where, prefilter=True
        ).to_pylist()
    except (ValueError, OSError) as error:
        if config.where is None:
            raise
        raise UserError(
            f"--where {config.where!r} does not work on this table: {str(error).splitlines()[0]}; "
            f"columns: {', '.join(columns)}"
        ) from None
    for row in rows:
        row["score"] = 1.0 - row.pop("_distance")
    query = {name: getattr(config, name) for name in ("image", "text", "id") if getattr(config, name) is not None}
    return SearchResult(table=config.table, column=column, query=query, results=rows)


def _query_vector(config: SearchConfig, dataset: Any, column: str) -> list[float]:
    if config.id is not None:
        found = dataset.to_table(columns=[column], filter=f"id = {sql_text(config.id)}", limit=1)
        if not found.num_rows:
            raise UserError(f"table {config.table}: no row has the id {config.id!r}")
        return [float(x) for x in found[column][0].as_py()]
    field = dataset.schema.field(column)
    record, model = read_space(field, config.table)
    if config.text is not None and not model.text:
        _name_text_column(config, dataset.schema, column)
    with working(f"loading {model.spec.name}"):
        return _embedded(config, record, model, read_canaries(field))


def _name_text_column(config: SearchConfig, schema: pa.Schema, column: str) -> None:
    """Raises `UserError` where another column of the table can be searched by words."""
    for other in vector_columns(schema):
        _, model = read_space(schema.field(other), config.table)
        if model.text:
            raise UserError(
                f"table {config.table}: {column} holds vectors of a model without a text tower; search by words with "
                f"--column {other} ({model.spec.name})"
            )


def _embedded(config: SearchConfig, record: Record, model: ModelDescription, canaries: Canaries | None) -> list[float]:
    image = config.image or ""
    fetch = config.fetch.model_copy(update={"storage": config.storage})
    if config.text is not None:
        # The words go another way, but into the same space: it must be one that this Pixlake computes.
        query_chain(record, model, fetch, config.table, api=config.api)
        return embed_text(config.text, model, config.storage, config.api)
    if "://" not in image or image.startswith("file://"):
        # The user names this file: a link is followed, wherever it leads.
        image = os.path.realpath(os.path.expanduser(split_uri(image)[2]))
        fetch = fetch.model_copy(update={"allowed_roots": (os.path.dirname(image), *fetch.allowed_roots)})
    chain = query_chain(record, model, fetch, config.table, canaries=canaries, api=config.api)
    return embed_image(image, chain)


def as_text(found: SearchResult) -> str:
    """A line a result: score, id, URI."""
    if not found.results:
        return "no rows match"
    return "\n".join(f"{row['score']:.4f}  {row['id']}  {row['uri']}" for row in found.results)
