"""An image or a few words as vectors of a table's space, made by the very operators that embedded the table's rows."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from operators.api.options import NO_API_OPTIONS, ApiOptions
from operators.base.columns import ERROR, ERROR_CLASS, ERROR_STAGE, PIXELS, VECTOR
from operators.base.errors import UserError
from operators.base.operator import OperatorConfig
from operators.base.rows import good_rows, source_rows
from operators.decode import DecodeOptions
from operators.detect import DetectConfig
from operators.embed import EmbedPixelsConfig
from operators.embed_api import api_embed_config, ask_for_text, is_api
from operators.fetch import FetchConfig
from operators.fetching.options import FetchOptions
from operators.models.canaries import Canaries
from operators.models.detectors.spec import DetectorDescription
from operators.models.families import IMPORTED
from operators.models.spec import ModelDescription
from operators.normalize import NormalizeConfig, l2_normalize
from operators.regions.options import DetectorOptions, RegionOptions
from operators.storage.stores import NO_OPTIONS, StorageOptions
from pipelines.embedding.chain import decode_operators, embed_operator
from pipelines.search.kept_operators import KEPT, KEPT_TEXTS
from pipelines.search.regions import regions_of
from pipelines.space.check import check_space
from pipelines.space.field import SpaceError
from pipelines.space.flat import flat_vectors
from pipelines.space.record import Record, space_record

NUM_CANARIES = 2
"""Canaries that a query checks: it loads the model for one image, where a run checks all."""

QUERY_REGIONS = 8
"""Regions of a query in one forward pass."""

QUERY_IMAGES = 32
"""Images that go through the operators together."""

QUERY_RETRY_S = 10.0
"""Seconds, at most, for which a query's image is tried again: somebody waits for the answer."""


class QueryFailedError(UserError):
    """An image gives no vector; the message says why."""


def query_chain(
    record: Record,
    model: ModelDescription,
    fetch: FetchOptions,
    table: str,
    *,
    regions: RegionOptions | None = None,
    detector: DetectorDescription | None = None,
    canaries: Canaries | None = None,
    api: ApiOptions = NO_API_OPTIONS,
    batch_size: int = 1,
    serving: bool = False,
) -> list[OperatorConfig]:
    """The operators that the record describes. Raises `SpaceError` where this Pixlake would compute something else; an
    earlier decoder is none.

    `regions` replace, for the query, the region options in the record. Where they need a detector, it is `detector`;
    otherwise no detector is compared. `canaries` are the table's, checked when the operators are built. `fetch.storage`
    opens a weights URI too, as it does for an embed job. `batch_size` images are embedded together. `serving`: images
    of strangers come one after another, so each is decoded in a process of its own and goes through the model alone,
    by the same operators whatever is asked.
    """
    if model.spec.family == IMPORTED:
        raise SpaceError(
            f"table {table}: its vectors were imported as those of {model.spec.name!r}, which Pixlake does not "
            "compute; search by a row of the table (--id)"
        )
    chain = partial(
        _chain,
        record,
        model,
        fetch,
        detector=detector,
        canaries=canaries,
        api=api,
        batch_size=batch_size,
        serving=serving,
    )
    of_table = regions_of(record)
    own = chain(of_table)
    # How an image is shown to a detector says nothing of a box that is cut out of it.
    left_out = {"decode", "detect"} if isinstance(of_table, DetectorOptions) and detector is None else set()
    ours = space_record(own, VECTOR)
    compared = {name: decided for name, decided in record.items() if name not in left_out}
    if "decode" in compared and compared["decode"]["decoder"] < ours["decode"]["decoder"]:
        # Nothing is written: today's pixels of a query are the right ones, and differ for odd files alone.
        compared["decode"] = {**compared["decode"], "decoder": ours["decode"]["decoder"]}
    check_space(compared, ours, table)
    return own if regions is None else chain(regions)


def _chain(
    record: Record,
    model: ModelDescription,
    fetch: FetchOptions,
    regions: RegionOptions | None,
    *,
    detector: DetectorDescription | None,
    canaries: Canaries | None,
    api: ApiOptions,
    batch_size: int,
    serving: bool,
) -> list[OperatorConfig]:
    decode = record["decode"]
    options = DecodeOptions(
        orient=decode["orientation"] == "exif",
        colour=decode["colour"],
        allow_truncated=decode["allow_truncated"],
        shrink_on_load=decode.get("shrink_on_load", False),
        isolate=serving,
    )
    detect = None
    if detector is not None and isinstance(regions, DetectorOptions):
        detect = DetectConfig(model=detector, options=regions, storage=fetch.storage)
    decoding = decode_operators(options, {PIXELS: model.preprocess}, regions, detect)
    precision = record["embed"].get("precision", "float32")
    embed = EmbedPixelsConfig(
        model=model,
        backend="auto" if precision == "float32" else record["embed"].get("backend", "torch"),
        precision=precision,
        batch_size=1 if serving else batch_size if regions is None else QUERY_REGIONS,
        storage=fetch.storage,
        canaries=canaries,
        num_canaries=NUM_CANARIES,
    )
    return [
        FetchConfig(**{**dict(fetch), "retry_s": min(fetch.retry_s, QUERY_RETRY_S)}),
        *(config for configs in decoding.values() for config in configs),
        api_embed_config(model, api) if is_api(model) else embed_operator(embed, regions),
        NormalizeConfig(**record["normalize"]),
    ]


def embed_images(
    uris: Sequence[str], chain: list[OperatorConfig], given: Sequence[Mapping[str, Any]] = ()
) -> list[np.ndarray | QueryFailedError]:
    """Of each image its vectors, (M, dim): one, or one for each of its regions; or the failure's class and reason.

    `given` are the boxes that the operators read, of each image.
    """
    found: list[np.ndarray | QueryFailedError] = []
    with KEPT.of(chain) as operators:
        for start in range(0, len(uris), QUERY_IMAGES):
            some = slice(start, start + QUERY_IMAGES)
            batch = _with_boxes(source_rows(uris[some]), given[some])
            for operator in operators:
                batch = operator(batch)
            values, starts = flat_vectors(batch[VECTOR])
            of_each = np.split(values, starts[1:-1])
            found += [
                of_row if good else _failed(uri, batch, at)
                for at, (uri, good, of_row) in enumerate(
                    zip(uris[some], good_rows(batch).to_pylist(), of_each, strict=True)
                )
            ]
    return found


def _with_boxes(batch: pa.Table, given: Sequence[Mapping[str, Any]]) -> pa.Table:
    for name in given[0] if given else ():
        boxes = [of_image[name] for of_image in given]
        batch = batch.append_column(name, pa.array(boxes, pa.list_(pa.list_(pa.float64()))))
    return batch


def _failed(uri: str, batch: pa.Table, at: int) -> QueryFailedError:
    stage, kind, why = (batch[f.name][at].as_py() for f in (ERROR_STAGE, ERROR_CLASS, ERROR))
    return QueryFailedError(f"image {uri}: {stage} failed, {kind}: {why}")


def embed_texts(
    texts: Sequence[str],
    model: ModelDescription,
    storage: StorageOptions = NO_OPTIONS,
    api: ApiOptions = NO_API_OPTIONS,
) -> np.ndarray:
    """(N, dim) float32: the vectors of words, of unit length; `storage` opens a weights URI. Raises `ModelError` where
    the model has no text tower, `ApiError`."""
    if is_api(model):
        return l2_normalize(np.stack([ask_for_text(text, model, api) for text in texts]))
    return l2_normalize(KEPT_TEXTS.embed(texts, model, storage))
