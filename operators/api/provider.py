"""The wire format of one provider, offered by its family's module, and what a run may ask of it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar, Literal

import numpy as np

from operators.api.options import ApiOptions
from operators.api.quota import QuotaLimits, images_for
from operators.models.families import FAMILIES
from operators.models.spec import ModelDescription


@dataclass(frozen=True)
class ApiRequest:
    """One image or one text, as the body of a POST."""

    kind: Literal["image", "text"]
    body: bytes


class Api(ABC):
    """The wire format of one provider, without any state. Its family's module has one as `API`."""

    scopes: ClassVar[Sequence[str]]
    """OAuth scopes that the credentials are asked for."""
    max_image_bytes: ClassVar[int]
    requests_per_minute: ClassVar[float]
    """The lowest quota that the provider documents."""
    usd_per_1000_images: ClassVar[float]
    """The list price in US dollars."""

    @abstractmethod
    def url(self, model: ModelDescription, options: ApiOptions) -> str:
        """The URL for a POST. It may contain the project, and contains no secret."""

    @abstractmethod
    def image_request(self, jpeg: bytes, dim: int) -> ApiRequest: ...

    @abstractmethod
    def text_request(self, text: str, dim: int) -> ApiRequest: ...

    @abstractmethod
    def read_vector(self, kind: Literal["image", "text"], answer: bytes, dim: int) -> np.ndarray:
        """(dim,) float32 from an answer with status 200. Raises `FetchError` where it holds no such vector."""

    @abstractmethod
    def read_error(self, answer: bytes) -> str:
        """The provider's own words in an answer with another status."""

    @abstractmethod
    def refuses_caller(self, status: int, answer: bytes) -> bool:
        """Whether the answer is about the caller, model or project, so that every other request would fail too."""


def api_of(model: ModelDescription) -> Api:
    api: Api = import_module(FAMILIES[model.spec.family]).API
    return api


def quota_limits(model: ModelDescription, options: ApiOptions) -> QuotaLimits:
    """The user's limits, or the provider's where the user gives none."""
    return QuotaLimits(
        requests_per_minute=options.requests_per_minute or api_of(model).requests_per_minute,
        max_images=images_for(options.max_spend_usd, usd_per_1000_images(model, options)),
    )


def usd_per_1000_images(model: ModelDescription, options: ApiOptions) -> float:
    return options.usd_per_1000_images or api_of(model).usd_per_1000_images
