"""One image or a few words to a vector of a table's space, through the very operators that indexed the table."""

import pyarrow as pa

from operators.api_options import NO_API_OPTIONS, ApiOptions
from operators.base import OperatorConfig
from operators.canaries import Canaries
from operators.columns import (
    ERROR,
    ERROR_CLASS,
    ERROR_STAGE,
    PIXELS,
    SOURCE_SCHEMA,
    URI,
    VECTOR,
    good_rows,
    vectors_to_numpy,
)
from operators.decode import DecodeConfig
from operators.embed import EmbedConfig
from operators.embed_api import api_embed_config, ask_for_text, is_api
from operators.errors import UserError
from operators.fetch import FetchConfig
from operators.models.spec import ModelDescription
from operators.normalize import NormalizeConfig, l2_normalize
from operators.storage import NO_OPTIONS, StorageOptions
from pipelines.declared_vectors import IMPORTED
from pipelines.space import Record, SpaceError, check_space, space_record
from pipelines.stage import Resources, Stage

NUM_CANARIES = 2
"""A query loads the model for one image: it checks a few canaries, where a run checks all."""


def query_chain(
    record: Record,
    model: ModelDescription,
    fetch: FetchConfig,
    table: str,
    *,
    canaries: Canaries | None = None,
    api: ApiOptions = NO_API_OPTIONS,
) -> list[OperatorConfig]:
    """The operators that the record describes. Raises `SpaceError` where this Pixlake would compute something else.

    `canaries` are the table's, checked when the operators are built. `fetch.storage` opens a weights URI too, as it
    does for an embed job.
    """
    if model.spec.family == IMPORTED:
        raise SpaceError(
            f"table {table}: its vectors were imported as those of {model.spec.name!r}, which Pixlake does not "
            "compute; search by a row of the table (--id)"
        )
    decode, normalize = record["decode"], record["normalize"]
    chain: list[OperatorConfig] = [
        fetch,
        DecodeConfig(
            targets={PIXELS: model.preprocess},
            orient=decode["orientation"] == "exif",
            colour=decode["colour"],
            allow_truncated=decode["allow_truncated"],
            isolate=False,
        ),
        api_embed_config(model, api)
        if is_api(model)
        else EmbedConfig(
            model=model,
            precision=record["embed"]["precision"],
            batch_size=1,
            storage=fetch.storage,
            canaries=canaries,
            num_canaries=NUM_CANARIES,
        ),
        NormalizeConfig(**normalize),
    ]
    stage = Stage(name="query", operators=tuple(chain), resources=Resources(num_actors=1))
    check_space(record, space_record([stage], VECTOR), table)
    return chain


def embed_image(uri: str, chain: list[OperatorConfig]) -> list[float]:
    """The image's vector. Raises `UserError` with the failure's class and reason where it has none."""
    columns = {f.name: pa.nulls(1, f.type) for f in SOURCE_SCHEMA}
    columns |= {"shard": pa.array([0], pa.int32()), "row": pa.array([0], pa.int32()), URI.name: pa.array([uri])}
    batch = pa.Table.from_pydict(columns, schema=SOURCE_SCHEMA)
    for config in chain:
        operator = config.build()
        batch = operator(batch)
        operator.close()
    if not good_rows(batch)[0].as_py():
        stage, kind, why = (batch[f.name][0].as_py() for f in (ERROR_STAGE, ERROR_CLASS, ERROR))
        raise UserError(f"image {uri}: {stage} failed, {kind}: {why}")
    return [float(x) for x in vectors_to_numpy(batch[VECTOR])[0]]


def embed_text(
    text: str, model: ModelDescription, storage: StorageOptions = NO_OPTIONS, api: ApiOptions = NO_API_OPTIONS
) -> list[float]:
    """The words' vector, of unit length; `storage` opens a weights URI. Raises `ModelError` where the model has no text
    tower, `ApiError`."""
    if is_api(model):
        return [float(x) for x in l2_normalize(ask_for_text(text, model, api)[None])[0]]
    from operators.models.load import load_text_embedder

    return [float(x) for x in l2_normalize(load_text_embedder(model, storage).embed([text]))[0]]
