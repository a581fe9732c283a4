"""Queries (images or parts of them, words, rows, and sums of these) as vectors of the columns that are searched."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from operators.api.options import ApiOptions
from operators.base.errors import UserError
from operators.embed_api import is_api
from operators.fetching.options import FetchOptions
from operators.models.canaries import Canaries
from operators.models.detectors.spec import DetectorDescription
from operators.models.resolve import resolving_detector
from operators.models.spec import ModelDescription
from operators.regions.options import DetectorOptions, RegionOptions
from operators.storage.stores import StorageOptions
from operators.storage.uris import split_uri
from pipelines.embedding.chain import wanted_detector
from pipelines.search.column import SearchColumn, search_column
from pipelines.search.example import Example, Query
from pipelines.search.query import QUERY_IMAGES, QueryFailedError, embed_images, embed_texts, query_chain
from pipelines.search.regions import query_regions, regions_of
from pipelines.search.rows import rows_of_ids
from pipelines.search.weighted import weighted_sum
from pipelines.space.bridge import QueryWay
from pipelines.space.field import read_canaries, read_space, vector_columns
from pipelines.space.flat import flat_numpy
from pipelines.space.record import Record, base_record
from pipelines.space.usable_rows import usable_rows
from pipelines.table.table import Table


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How the images and the weights that queries need are reached."""

    table: Table
    fetch: FetchOptions
    storage: StorageOptions
    """Of images, and of a weights URI."""
    api: ApiOptions
    serving: bool = False
    """Whether queries of strangers go on coming: `query_chain`."""


Working = Callable[[str], AbstractContextManager[None]]
"""Shows the user, while entered, that something takes a while."""
VectorsOrWhy = np.ndarray | UserError
"""(M, dim) float32 of an example or a query, or why it has none."""


def query_vectors(
    asking: Asking,
    query: Query,
    dataset: Any,
    columns: list[SearchColumn],
    working: Working,
    bridge: QueryWay | None = None,
) -> list[np.ndarray]:
    """The query for each column, (M, dim) float32. With a bridge, or another way, it is embedded by the way's model,
    and brought to the base column. Raises `UserError` for a query that gives no vector."""
    if query.row is not None:
        return [_or_raise(_stored(asking, [query.row], dataset, column)[query.row]) for column in columns]
    of_example = _example_vectors(asking, query.examples, dataset, columns[0], working, bridge)
    base_MD = _or_raise(_summed(query, of_example))
    return [_or_raise(_brought_to(column, base_MD)) for column in columns]


def many_query_vectors(
    asking: Asking, queries: Sequence[Query], dataset: Any, column: SearchColumn, working: Working
) -> list[VectorsOrWhy]:
    """Of each query its vectors for the column, or why it has none. Each example is embedded once, whatever the number
    of queries that it is in. Raises `UserError` for what is wrong with all of them, such as the model."""
    stored = _stored(asking, [query.row for query in queries if query.row is not None], dataset, column)
    examples = [each for query in queries if query.row is None for each in query.examples]
    of_example = _example_vectors(asking, examples, dataset, column, working, None)
    found: list[VectorsOrWhy] = []
    for query in queries:
        if query.row is not None:
            found.append(stored[query.row])
        else:
            base = _summed(query, of_example)
            found.append(base if isinstance(base, UserError) else _brought_to(column, base))
    return found


def _or_raise(vectors: VectorsOrWhy) -> np.ndarray:
    if isinstance(vectors, UserError):
        raise vectors
    return vectors


def _summed(query: Query, of_example: dict[Example, VectorsOrWhy]) -> VectorsOrWhy:
    """The query in the base column."""
    parts = [of_example[each] for each in query.examples]
    for part in parts:
        if isinstance(part, UserError):
            return part
    if len(parts) == 1:
        return parts[0]
    try:
        return weighted_sum([_or_raise(part) for part in parts], query.weights)
    except ValueError as error:
        return QueryFailedError(f"the query has no vector: {error}")


def _brought_to(column: SearchColumn, base_MD: np.ndarray) -> VectorsOrWhy:
    try:
        return column.queries(base_MD)
    except ValueError as error:
        return QueryFailedError(f"the query has no vector: {error}")


def _stored(asking: Asking, ids: Sequence[str], dataset: Any, column: SearchColumn) -> dict[str, VectorsOrWhy]:
    """The vectors that the codes of each row stand for."""
    found: dict[str, VectorsOrWhy] = {}
    for name, value in rows_of_ids(dataset, ids, column.name, asking.table).items():
        if isinstance(value, UserError):
            found[name] = value
        elif value.null_count:
            found[name] = UserError(f"table {asking.table}: the row {name!r} has nothing in {column.name} yet")
        elif column.searched_by_lance and not usable_rows(value, column.metric).all():
            found[name] = UserError(
                f"table {asking.table}: the row {name!r} has zeros alone, or a number that is not finite, in "
                f"{column.name}: nothing is near it"
            )
        else:
            found[name] = column.codec.decode(flat_numpy(value))
    return found


def _example_vectors(
    asking: Asking,
    examples: Iterable[Example],
    dataset: Any,
    column: SearchColumn,
    working: Working,
    bridge: QueryWay | None,
) -> dict[Example, VectorsOrWhy]:
    """Each example as a row of the base column, (M, dim) float32; several vectors where rows hold lists."""
    different = list(dict.fromkeys(examples))
    rows = [each for each in different if each.by == "id"]
    found: dict[Example, VectorsOrWhy] = {}
    if rows:
        base = search_column(dataset.schema.field(column.base), column.storage)
        stored = _stored(asking, [each.value for each in rows], dataset, base)
        found |= {each: stored[each.value] for each in rows}
    made = [each for each in different if each.by != "id"]
    if made:
        vectors = _embedded(asking, made, dataset.schema, column, working, bridge)
        found |= dict(zip(made, vectors, strict=True))
    return found


def _embedded(
    asking: Asking,
    examples: list[Example],
    schema: pa.Schema,
    column: SearchColumn,
    working: Working,
    bridge: QueryWay | None,
) -> list[VectorsOrWhy]:
    of_whom = "the query's vector" if len(examples) == 1 else f"the vectors of {len(examples):,} images or words"
    if bridge is not None:
        with working(f"loading {bridge.model.spec.name}, then {of_whom}, for another model's column"):
            vectors = _model_vectors(asking, examples, bridge.space, bridge.model, bridge.canaries)
            return [each if isinstance(each, UserError) else bridge.bridged(each) for each in vectors]
    field = schema.field(column.name)
    record, model = read_space(field, str(asking.table))
    if any(each.by == "text" for each in examples) and not model.text:
        _name_text_column(asking, schema, column.name)
    loaded = f"asking {model.spec.name}" if is_api(model) else f"loading {model.spec.name}: libraries, weights"
    with working(f"{loaded}; then {of_whom}"):
        vectors = _model_vectors(asking, examples, base_record(record), model, read_canaries(field))
    return [each if isinstance(each, UserError) else each.astype(np.float32) for each in vectors]


def _name_text_column(asking: Asking, schema: pa.Schema, column: str) -> None:
    """Raises `UserError`, naming it, where another column of the table can be searched by words."""
    for other in vector_columns(schema):
        _, model = read_space(schema.field(other), str(asking.table))
        if model.text:
            raise UserError(
                f"table {asking.table}: {column} holds vectors of a model without a text tower; search by words with "
                f"--column {other} ({model.spec.name})"
            )


def _model_vectors(
    asking: Asking, examples: list[Example], record: Record, model: ModelDescription, canaries: Canaries | None
) -> list[VectorsOrWhy]:
    texts = [each for each in examples if each.by == "text"]
    images = [each for each in examples if each.by == "image"]
    found: dict[Example, VectorsOrWhy] = {}
    if texts:
        found |= dict(zip(texts, _words(asking, [each.value for each in texts], record, model), strict=True))
    for boxed in (False, True):
        some = [each for each in images if (each.box is not None) == boxed]
        if some:
            found |= dict(zip(some, _of_images(asking, some, record, model, canaries), strict=True))
    return [found[each] for each in examples]


def _of_images(
    asking: Asking, examples: list[Example], record: Record, model: ModelDescription, canaries: Canaries | None
) -> list[VectorsOrWhy]:
    """Of images that are all asked by a box or all without one."""
    fetch = asking.fetch.model_copy(update={"storage": asking.storage})
    named = [_named_by_user(each.value) for each in examples]
    # The user names these files: a link is followed, wherever it leads.
    folders = dict.fromkeys(os.path.dirname(path) for path, local in named if local)
    fetch = fetch.model_copy(update={"allowed_roots": (*folders, *fetch.allowed_roots)})
    found: list[VectorsOrWhy | None] = [None] * len(examples)
    own = regions_of(record)
    shown = [query_regions(own, each.box, model.preprocess.resize) for each in examples]
    for regions, some in _same_options([options for options, _ in shown]):
        detector = _detector(regions, asking.storage) if isinstance(regions, DetectorOptions) else None
        chain = query_chain(
            record,
            model,
            fetch,
            str(asking.table),
            regions=regions,
            detector=detector,
            canaries=canaries,
            api=asking.api,
            batch_size=min(len(some), QUERY_IMAGES),
            serving=asking.serving,
        )
        vectors = embed_images([named[at][0] for at in some], chain, [shown[at][1] for at in some])
        for at, each in zip(some, vectors, strict=True):
            found[at] = each
    return [each for each in found if each is not None]


def _named_by_user(image: str) -> tuple[str, bool]:
    """(the image's URI, or its real path; whether it is a file here)."""
    if "://" in image and not image.startswith("file://"):
        return image, False
    return os.path.realpath(os.path.expanduser(split_uri(image)[2])), True


def _same_options(options: Sequence[RegionOptions | None]) -> list[tuple[RegionOptions | None, list[int]]]:
    """Indices by equal options; a few kinds of them at most."""
    kinds: list[tuple[RegionOptions | None, list[int]]] = []
    for at, each in enumerate(options):
        for kind, some in kinds:
            if kind == each:
                some.append(at)
                break
        else:
            kinds.append((each, [at]))
    return kinds


def _words(asking: Asking, texts: Sequence[str], record: Record, model: ModelDescription) -> list[np.ndarray]:
    # The words go another way, but into the same space: it must be one that this Pixlake computes.
    fetch = asking.fetch.model_copy(update={"storage": asking.storage})
    query_chain(record, model, fetch, str(asking.table), api=asking.api)
    return [vector[None] for vector in embed_texts(texts, model, asking.storage, asking.api)]


def _detector(options: DetectorOptions, storage: StorageOptions) -> DetectorDescription:
    with resolving_detector(wanted_detector(options, storage)) as found:
        return found()
