"""What a search is for (an image or a part of it, words, a row) as vectors of the columns that it compares."""

import os
from collections.abc import Callable, Sequence
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
from operators.regions.options import DetectorOptions
from operators.storage.stores import StorageOptions
from operators.storage.uris import split_uri
from pipelines.embedding.chain import wanted_detector
from pipelines.search.column import SearchColumn
from pipelines.search.query import QueryFailedError, embed_image, embed_texts, query_chain
from pipelines.search.regions import Box, query_regions, regions_of
from pipelines.search.rows import row_of_id
from pipelines.space.bridge import Bridge
from pipelines.space.field import read_canaries, read_space, vector_columns
from pipelines.space.flat import flat_numpy
from pipelines.space.record import Record, base_record
from pipelines.space.usable_rows import usable_rows


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a user searches for. Exactly one of `image`, `text` and `id` is given."""

    table: str
    image: str | None
    text: str | None
    id: str | None
    box: Box | None
    """The region of `image` to search by."""
    fetch: FetchOptions
    storage: StorageOptions
    """Storage settings for `image`, and for a weights URI."""
    api: ApiOptions


Working = Callable[[str], AbstractContextManager[None]]
"""Shows the user, while entered, that something takes a while."""


def query_vectors(
    asked: Question, dataset: Any, columns: list[SearchColumn], working: Working, bridge: Bridge | None = None
) -> list[np.ndarray]:
    """The query for each column, (M, dim) float32. With a bridge it is embedded by the bridge's model, and brought to
    the base column. Raises `UserError` for a query that gives no vector."""
    if asked.id is not None:
        return [_stored(asked, dataset, column) for column in columns]
    base_MD = _embedded(asked, dataset.schema, columns[0], working, bridge)
    return [_brought_to(column, base_MD) for column in columns]


def word_vectors(asked: Question, texts: Sequence[str], dataset: Any, column: SearchColumn) -> list[np.ndarray]:
    """The query for the column, (1, dim) float32, of each of the texts; of the question it takes all but its text. The
    model is loaded once. Raises `UserError`."""
    record, model = read_space(dataset.schema.field(column.base), asked.table)
    vectors = _words(asked, texts, base_record(record), model).astype(np.float32)
    return [_brought_to(column, vector[None]) for vector in vectors]


def _brought_to(column: SearchColumn, base_MD: np.ndarray) -> np.ndarray:
    try:
        return column.queries(base_MD)
    except ValueError as error:
        raise QueryFailedError(f"the query has no vector: {error}") from None


def _stored(asked: Question, dataset: Any, column: SearchColumn) -> np.ndarray:
    """The vectors that the codes of a row stand for."""
    assert asked.id is not None
    found = row_of_id(dataset, asked.id, column.name, asked.table)
    if found.null_count:
        raise UserError(f"table {asked.table}: the row {asked.id!r} has nothing in {column.name} yet")
    if column.searched_by_lance and not usable_rows(found, column.metric).all():
        raise UserError(
            f"table {asked.table}: the row {asked.id!r} has zeros alone, or a number that is not finite, in "
            f"{column.name}: nothing is near it"
        )
    return column.codec.decode(flat_numpy(found))


def _embedded(
    asked: Question, schema: pa.Schema, column: SearchColumn, working: Working, bridge: Bridge | None
) -> np.ndarray:
    """(M, dim) float32: the query as a row of the base column; several vectors where rows hold lists."""
    if bridge is not None:
        with working(f"loading {bridge.record.model.spec.name}, then the query's vector, over the bridge"):
            made = _model_vectors(asked, bridge.record.space, bridge.record.model, bridge.record.canaries)
            return bridge.bridged(made)
    field = schema.field(column.name)
    record, model = read_space(field, asked.table)
    if asked.text is not None and not model.text:
        _name_text_column(asked, schema, column.name)
    loaded = f"asking {model.spec.name}" if is_api(model) else f"loading {model.spec.name}: libraries, weights"
    with working(f"{loaded}; then the query's vector"):
        return _model_vectors(asked, base_record(record), model, read_canaries(field)).astype(np.float32)


def _name_text_column(asked: Question, schema: pa.Schema, column: str) -> None:
    """Raises `UserError`, naming it, where another column of the table can be searched by words."""
    for other in vector_columns(schema):
        _, model = read_space(schema.field(other), asked.table)
        if model.text:
            raise UserError(
                f"table {asked.table}: {column} holds vectors of a model without a text tower; search by words with "
                f"--column {other} ({model.spec.name})"
            )


def _model_vectors(asked: Question, record: Record, model: ModelDescription, canaries: Canaries | None) -> np.ndarray:
    image = asked.image or ""
    fetch = asked.fetch.model_copy(update={"storage": asked.storage})
    if asked.text is not None:
        return _words(asked, [asked.text], record, model)
    if "://" not in image or image.startswith("file://"):
        # The user names this file: a link is followed, wherever it leads.
        image = os.path.realpath(os.path.expanduser(split_uri(image)[2]))
        fetch = fetch.model_copy(update={"allowed_roots": (os.path.dirname(image), *fetch.allowed_roots)})
    own = regions_of(record)
    regions, given = (None, {}) if own is None else query_regions(own, asked.box)
    detector = _detector(regions, asked.storage) if isinstance(regions, DetectorOptions) else None
    chain = query_chain(
        record, model, fetch, asked.table, regions=regions, detector=detector, canaries=canaries, api=asked.api
    )
    return embed_image(image, chain, given)


def _words(asked: Question, texts: Sequence[str], record: Record, model: ModelDescription) -> np.ndarray:
    # The words go another way, but into the same space: it must be one that this Pixlake computes.
    fetch = asked.fetch.model_copy(update={"storage": asked.storage})
    query_chain(record, model, fetch, asked.table, api=asked.api)
    return embed_texts(texts, model, asked.storage, asked.api)


def _detector(options: DetectorOptions, storage: StorageOptions) -> DetectorDescription:
    with resolving_detector(wanted_detector(options, storage)) as found:
        return found()
