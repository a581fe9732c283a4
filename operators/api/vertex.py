"""Vertex AI's multimodal embeddings: images and text in one space, asked over REST.

Wire format, limits and errors as Google documents them:
- https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/multimodal-embeddings-api (request, answer,
  `dimension`),
- https://cloud.google.com/vertex-ai/generative-ai/docs/embeddings/get-multimodal-embeddings (limits: images up to
  20 MB, scaled by the service to 512 x 512 pixels; text of 32 tokens, cut off by the service beyond; English; 120 to
  600 requests a minute by region),
- https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/api-errors (errors),
- https://cloud.google.com/vertex-ai/generative-ai/pricing (price).
"""

import base64
import json
import math
from typing import Any, Literal

import numpy as np

from operators.api.options import ApiOptions
from operators.api.provider import Api, ApiRequest
from operators.base.errors import ErrorClass, clean_message
from operators.fetching.attempt import FetchError
from operators.models.spec import ModelDescription, ModelError, ModelOptions, ModelSpec
from operators.pixels.preprocess import Preprocess
from operators.storage.stores import StorageOptions

ARCHITECTURE = "multimodalembedding@001"
DIMS = (128, 256, 512, 1408)
SIZE = 512
"""Side in pixels to which the service scales every image: larger ones would only take longer to send."""

_MAX_FLOAT32 = float(np.finfo(np.float32).max)
_EMBEDDINGS = {"image": "imageEmbedding", "text": "textEmbedding"}


def describe(spec: ModelSpec, storage: StorageOptions) -> ModelDescription:
    """The description of a model, without asking the service. Raises `ModelError` for a model, length or option that it
    does not have."""
    if spec.architecture != ARCHITECTURE:
        raise ModelError(f"model {spec.name!r}: of Vertex AI's models only {ARCHITECTURE} is known: {_name('DIM')}")
    if spec.pretrained not in (None, *map(str, DIMS)):
        raise ModelError(
            f"model {spec.name!r}: vectors of {spec.pretrained} components are not offered; "
            f"{_name('DIM')} takes a DIM of {', '.join(map(str, DIMS))}"
        )
    given = [n for n in ModelOptions.model_fields if n != "preprocess" and getattr(spec, n) != getattr(_DEFAULTS, n)]
    given += [f"preprocess.{name}" for name in ("mean", "std") if getattr(spec.preprocess, name) is not None]
    if given:
        raise ModelError(f"model {spec.name!r}: {', '.join(given)} cannot be set for a model that runs at its provider")
    own = Preprocess.square_pixels(SIZE, "longest")
    return ModelDescription(
        spec=spec,
        dim=int(spec.pretrained or DIMS[-1]),
        preprocess=spec.preprocess.apply(own),
        network=spec.architecture,
        weights_sha256="",
        text=True,
        num_parameters=0,
    )


_DEFAULTS = ModelOptions()


def _name(dim: str) -> str:
    return f"vertex:{ARCHITECTURE}/{dim}"


class Vertex(Api):
    """The `:predict` call of one of Google's models, for an image or a text at a time."""

    scopes = ("https://www.googleapis.com/auth/cloud-platform",)
    max_image_bytes = 20_000_000
    requests_per_minute = 120.0
    usd_per_1000_images = 0.10

    def url(self, model: ModelDescription, options: ApiOptions) -> str:
        """The URL for a POST. It contains the project, and no secret."""
        base = options.endpoint or f"https://{options.location}-aiplatform.googleapis.com"
        return (
            f"{base}/v1/projects/{options.project}/locations/{options.location}"
            f"/publishers/google/models/{model.spec.architecture}:predict"
        )

    def image_request(self, jpeg: bytes, dim: int) -> ApiRequest:
        encoded = base64.b64encode(jpeg).decode()
        return ApiRequest("image", _body({"image": {"bytesBase64Encoded": encoded, "mimeType": "image/jpeg"}}, dim))

    def text_request(self, text: str, dim: int) -> ApiRequest:
        return ApiRequest("text", _body({"text": text}, dim))

    def read_vector(self, kind: Literal["image", "text"], answer: bytes, dim: int) -> np.ndarray:
        """(dim,) float32 from `{"predictions": [{"imageEmbedding": [...]}]}`. Raises `FetchError` for anything else,
        and `RecursionError` for nesting that is too deep."""
        try:
            values = json.loads(answer)["predictions"][0][_EMBEDDINGS[kind]]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise FetchError(
                ErrorClass.BAD_RESPONSE, f"status 200 without an {kind} vector: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
            raise FetchError(ErrorClass.BAD_RESPONSE, f"status 200 without an {kind} vector: not a list of numbers")
        if len(values) != dim:
            raise FetchError(ErrorClass.BAD_RESPONSE, f"a vector of {len(values)} components, {dim} were asked for")
        vector = np.array([_as_float32(value) for value in values], np.float32)
        if not np.isfinite(vector).all():
            raise FetchError(ErrorClass.BAD_VECTOR, "the vector has components that are NaN or no finite float32")
        return vector

    def read_error(self, answer: bytes) -> str:
        """`STATUS: message` from `{"error": {"code", "message", "status"}}`, or the start of whatever else came."""
        try:
            error = json.loads(answer)["error"]
            return clean_message(f"{error.get('status', '')}: {error.get('message', '')}".removeprefix(": "))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            return clean_message(answer[:200].decode("utf-8", "replace"))

    def refuses_caller(self, status: int, answer: bytes) -> bool:
        """True for 401, 403 and 404, which are about credentials, permission, billing, project or model: a request
        names nothing else.

        True also for 400 FAILED_PRECONDITION: the organisation's policy or an allow-list keeps the model from the
        project.
        """
        return status in (401, 403, 404) or (status == 400 and b'"FAILED_PRECONDITION"' in answer)


API = Vertex()


def _body(instance: dict[str, Any], dim: int) -> bytes:
    return json.dumps({"instances": [instance], "parameters": {"dimension": dim}}).encode()


def _as_float32(value: float) -> float:
    """The number, infinite where float32 cannot hold it: JSON bounds no number."""
    return value if abs(value) <= _MAX_FLOAT32 else math.inf
