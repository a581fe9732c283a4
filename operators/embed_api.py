"""From pixels to vectors by asking a provider: the embed operator of models that run elsewhere."""

from concurrent.futures import Future
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import simplejpeg
from pydantic import ConfigDict, Field

from operators.api.options import ApiError, ApiOptions, resolved
from operators.api.provider import api_of, quota_limits
from operators.api.quota import LocalQuota, Quota
from operators.api.slots import NotAttemptedError
from operators.base.arrays import is_list, pixels_to_numpy, vector_field, vectors_from_numpy
from operators.base.columns import HEIGHT, PIXELS, VECTOR, WIDTH
from operators.base.errors import ErrorClass, Failure, UserError
from operators.base.failpoints import failpoint
from operators.base.operator import Operator, OperatorConfig
from operators.base.rows import about_column, fail_rows, leave_undone, set_column
from operators.fetching.attempt import Attempts, FetchError
from operators.fetching.network import failure_of
from operators.models.families import APIS
from operators.models.spec import ModelDescription
from operators.regions.view import without_padding

JPEG_QUALITY = 95


class ApiEmbedConfig(OperatorConfig):
    """From pixels (uint8, at the model's size), `width` and `height` to vectors (float32, as the provider gives
    them)."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: ClassVar[str] = "embed"

    model: ModelDescription
    api: ApiOptions
    quota: Quota | None = Field(default=None, exclude=True, repr=False)
    """The quota that all operators of a run share; None: one of its own."""

    pixels: str = PIXELS
    """Column that is read."""
    keep_pixels: bool = False
    """Whether another model reads the same pixels after this one."""
    column: str = VECTOR
    """Column that is made."""

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.pixels, WIDTH.name, HEIGHT.name})

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """Raises `UserError` where there are regions: each would be a request to pay for."""
        if is_list(schema.field(self.pixels)):
            raise UserError(
                f"regions: {self.model.spec.name} is asked over the network and embeds whole images; leave regions "
                "out, or take a model that runs here"
            )
        if not self.keep_pixels:
            schema = schema.remove(schema.get_field_index(self.pixels))
        return schema.append(vector_field(self.model.dim, pa.float32(), self.column))

    def space(self, column: str) -> dict[str, Any]:
        if column != self.column:
            return {}
        return {
            "family": self.model.spec.family,
            "network": self.model.network,
            "weights": "the provider's",
            "sent_as": f"jpeg, quality {JPEG_QUALITY}, 4:4:4, padding cut away",
            "dim": self.model.dim,
        }

    def build(self) -> "ApiEmbed":
        return ApiEmbed(self)


def is_api(model: ModelDescription) -> bool:
    """Whether the model is embedded by this operator, and not by `operators.embed`."""
    return model.spec.family in APIS


def api_embed_config(
    model: ModelDescription,
    api: ApiOptions,
    *,
    pixels: str = PIXELS,
    keep_pixels: bool = False,
    column: str = VECTOR,
) -> ApiEmbedConfig:
    """The operator's config. Raises `ApiError` where something is missing that the workers will need."""
    return ApiEmbedConfig(model=model, api=resolved(api), pixels=pixels, keep_pixels=keep_pixels, column=column)


class ApiEmbed(Operator[ApiEmbedConfig]):
    """Asks the API. One client serves all calls, from however many threads.

    A row for which no request may be sent any more is left undone (`rows.leave_undone`), with the reason.
    """

    def __init__(self, config: ApiEmbedConfig) -> None:
        super().__init__(config)
        self._api = api_of(config.model)
        quota = config.quota or LocalQuota(quota_limits(config.model, config.api))
        # Here and not at the top: aiohttp takes a quarter of a second, and most runs ask no provider.
        from operators.api.client import ApiClient

        self._client = ApiClient(config.model, config.api, quota)

    def transform(self, batch: pa.Table) -> pa.Table:
        model = self.config.model
        sizes = zip(batch[HEIGHT.name].to_pylist(), batch[WIDTH.name].to_pylist(), strict=True)
        column = batch[self.config.pixels]
        if not self.config.keep_pixels:
            batch = batch.drop_columns([self.config.pixels])
        pixels = pixels_to_numpy(column, model.preprocess.height, model.preprocess.width)
        tallies = [Attempts() for _ in pixels]
        failpoint("embed.before")
        # Row by row: the first is under way while the next is being encoded.
        asked = [self._ask(image, *size, tally) for image, size, tally in zip(pixels, sizes, tallies, strict=True)]
        vectors = np.zeros((len(pixels), model.dim), np.float32)
        failures: dict[int, Failure] = {}
        undone: dict[int, str] = {}
        for row, answer in enumerate(asked):
            try:
                vectors[row] = answer.result()
            except FetchError as error:
                failure = failure_of(error, tallies[row].attempts)
                failures[row] = replace(failure, message=about_column(self.config.column, failure.message))
            except NotAttemptedError as error:
                undone[row] = str(error)
        self._client.settle()
        failpoint("embed.after")
        valid = np.ones(len(pixels), bool)
        valid[[*failures, *undone]] = False
        field = vector_field(model.dim, pa.float32(), self.config.column)
        batch = set_column(batch, field, vectors_from_numpy(vectors, valid))
        return leave_undone(fail_rows(batch, failures, self.config.name), undone, self.config.name)

    def close(self) -> None:
        self._client.close()

    def _ask(self, pixels: np.ndarray, height: int, width: int, tally: Attempts) -> "Future[np.ndarray]":
        jpeg = encode_jpeg(without_padding(pixels, height, width, self.config.model.preprocess))
        limit = self._api.max_image_bytes
        if len(jpeg) > limit:
            refused: Future[np.ndarray] = Future()
            refused.set_exception(
                FetchError(ErrorClass.TOO_LARGE, f"{len(jpeg)} bytes as JPEG, the API takes {limit} of an image")
            )
            return refused
        return self._client.ask(self._api.image_request(jpeg, self.config.model.dim), tally)


def encode_jpeg(pixels: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB as a JPEG with every chroma sample kept."""
    jpeg: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), quality=JPEG_QUALITY, colorspace="RGB", colorsubsampling="444"
    )
    return jpeg


def ask_for_text(text: str, model: ModelDescription, api: ApiOptions) -> np.ndarray:
    """(dim,) float32: the text's vector in the space of the model's images. Raises `ApiError` where the API gives
    none."""
    options = resolved(api)
    from operators.api.client import ApiClient

    client = ApiClient(model, options, LocalQuota(quota_limits(model, options)))
    try:
        return client.ask(api_of(model).text_request(text, model.dim), Attempts()).result()
    except (FetchError, NotAttemptedError) as error:
        raise ApiError(f"the text has no vector: {error}") from None
    finally:
        client.close()
