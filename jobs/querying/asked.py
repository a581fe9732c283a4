"""What a user asks by: examples to be like and unlike, each with its weight."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, field_validator, model_validator

from operators.storage.redact import redact_uri
from pipelines.search.example import AWAY, By, Example, Query
from pipelines.search.regions import Box, box_text

LIKE: tuple[By, ...] = ("image", "text", "id")
UNLIKE = tuple(f"not_{by}" for by in LIKE)


class Examples(BaseModel):
    """Images, words and rows: at least one that the images found are to be like."""

    model_config = ConfigDict(frozen=True)

    image: tuple[str, ...] = ()
    """Local paths or any URIs that `fetch` reads."""
    text: tuple[str, ...] = ()
    id: tuple[str, ...] = ()
    """Ids of images or, where each region has a row of its own, `region_id` of regions."""
    not_image: tuple[str, ...] = ()
    not_text: tuple[str, ...] = ()
    not_id: tuple[str, ...] = ()
    weights: tuple[FiniteFloat, ...] = ()
    """One above 0 for each of these, in the order of the fields. Unless given 1, and 0.5 of what is not to be found."""

    @field_validator(*LIKE, *UNLIKE, mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        if value is None:
            return ()
        return (value,) if isinstance(value, str | int | float) else tuple(value)

    @field_validator("weights", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """`1,0.5` as numbers. Raises `ValueError`."""
        return () if value is None else value.split(",") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _weights_fit(self) -> "Examples":
        names = [name for name in (*LIKE, *UNLIKE) for _ in getattr(self, name)]
        if self.weights and len(self.weights) != len(names):
            order = ", ".join("--" + name.replace("_", "-") for name in names) or "no example"
            raise ValueError(f"--weights has {len(self.weights)}, for {len(names)} examples (in this order: {order})")
        if any(weight <= 0 for weight in self.weights):
            raise ValueError("--weights are above 0; what is not to be found is --not-image, --not-text or --not-id")
        return self

    @property
    def count(self) -> int:
        """How many examples to be like there are."""
        return sum(len(getattr(self, by)) for by in LIKE)

    def query(self, box: Box | None) -> Query:
        """The query; `box` is the region of its one image."""
        like = [
            Example(by=by, value=value, box=box if by == "image" else None) for by in LIKE for value in self._of(by)
        ]
        unlike = [Example(by=by, value=value) for by in LIKE for value in self._of(f"not_{by}")]
        strengths = self.weights or (*[1.0] * len(like), *[AWAY] * len(unlike))
        signs = [1] * len(like) + [-1] * len(unlike)
        weights = tuple(sign * strength for sign, strength in zip(signs, strengths, strict=True))
        return Query(examples=(*like, *unlike), weights=weights)

    def _of(self, name: str) -> Sequence[str]:
        values: Sequence[str] = getattr(self, name)
        return values


class AskedPart(BaseModel):
    """An example of a query, as a result tells it."""

    by: By
    value: str
    """An image's URI is without its secrets."""
    weight: float
    """Below 0 for what is not to be found."""
    box: str | None = None


def asked_parts(query: Query) -> list[AskedPart]:
    """What the query is made of."""
    return [
        AskedPart(
            by=each.by,
            value=redact_uri(each.value) if each.by == "image" else each.value,
            weight=weight,
            box=None if each.box is None else box_text(each.box),
        )
        for each, weight in zip(query.examples, query.weights, strict=True)
    ]
