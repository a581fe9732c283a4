"""What a search is for as vectors of the columns that it compares: an image or a part of it, words, a row."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from jobs.session.progress import working
from operators.base.errors import UserError
from operators.models.canaries import Canaries
from operators.models.detectors.spec import DetectorDescription
from operators.models.resolve import resolving_detector
from operators.models.spec import ModelDescription
from operators.regions.options import DetectorOptions
from operators.storage.stores import StorageOptions
from operators.storage.uris import split_uri
from pipelines.embedding.chain import wanted_detector
from pipelines.search.column import SearchColumn
from pipelines.search.query import embed_image, embed_text, query_chain
from pipelines.search.regions import query_regions, regions_of
from pipelines.search.rows import row_of_id
from pipelines.space.field import read_canaries, read_space, vector_columns
from pipelines.space.flat import flat_numpy
from pipelines.space.record import Record, base_record
from pipelines.space.usable_rows import usable_rows

if TYPE_CHECKING:
    from jobs.search import SearchConfig


def query_vectors(config: "SearchConfig", dataset: Any, columns: list[SearchColumn]) -> list[np.ndarray]:
    """The query for each column, (M, dim) float32. Raises `UserError` for one that has no vector."""
    if config.id is not None:
        return [_stored(config, dataset, column) for column in columns]
    base_MD = _embedded(config, dataset.schema, columns[0])
    try:
        return [column.queries(base_MD) for column in columns]
    except ValueError as error:
        raise UserError(f"the query has no vector: {error}") from None


def _stored(config: "SearchConfig", dataset: Any, column: SearchColumn) -> np.ndarray:
    """What the codes of a row stand for."""
    assert config.id is not None
    found = row_of_id(dataset, config.id, column.name, config.table)
    if found.null_count:
        raise UserError(f"table {config.table}: the row {config.id!r} has nothing in {column.name} yet")
    if column.searched_by_lance and not usable_rows(found, column.metric).all():
        raise UserError(
            f"table {config.table}: the row {config.id!r} has zeros alone, or a number that is not finite, in "
            f"{column.name}: nothing is near it"
        )
    return column.codec.decode(flat_numpy(found))


def _embedded(config: "SearchConfig", schema: pa.Schema, column: SearchColumn) -> np.ndarray:
    """(M, dim) float32: the query as a row of the base column, several vectors where rows have lists."""
    field = schema.field(column.name)
    record, model = read_space(field, config.table)
    if config.text is not None and not model.text:
        _name_text_column(config, schema, column.name)
    with working(f"loading {model.spec.name}"):
        return _model_vectors(config, base_record(record), model, read_canaries(field)).astype(np.float32)


def _name_text_column(config: "SearchConfig", schema: pa.Schema, column: str) -> None:
    """Raises `UserError` where another column of the table can be searched by words."""
    for other in vector_columns(schema):
        _, model = read_space(schema.field(other), config.table)
        if model.text:
            raise UserError(
                f"table {config.table}: {column} holds vectors of a model without a text tower; search by words with "
                f"--column {other} ({model.spec.name})"
            )


def _model_vectors(
    config: "SearchConfig", record: Record, model: ModelDescription, canaries: Canaries | None
) -> np.ndarray:
    image = config.image or ""
    fetch = config.fetch.model_copy(update={"storage": config.storage})
    if config.text is not None:
        # The words go another way, but into the same space: it must be one that this Pixlake computes.
        query_chain(record, model, fetch, config.table, api=config.api)
        return np.array([embed_text(config.text, model, config.storage, config.api)])
    if "://" not in image or image.startswith("file://"):
        # The user names this file: a link is followed, wherever it leads.
        image = os.path.realpath(os.path.expanduser(split_uri(image)[2]))
        fetch = fetch.model_copy(update={"allowed_roots": (os.path.dirname(image), *fetch.allowed_roots)})
    own = regions_of(record)
    regions, given = (None, {}) if own is None else query_regions(own, config.box)
    detector = _detector(regions, config.storage) if isinstance(regions, DetectorOptions) else None
    chain = query_chain(
        record, model, fetch, config.table, regions=regions, detector=detector, canaries=canaries, api=config.api
    )
    return embed_image(image, chain, given)


def _detector(options: DetectorOptions, storage: StorageOptions) -> DetectorDescription:
    with resolving_detector(wanted_detector(options, storage)) as found:
        return found()
