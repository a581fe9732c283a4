"""What a query is made of: images, words and rows of the table, to which the images found are like, or unlike."""

from dataclasses import dataclass
from typing import Literal

from pipelines.search.regions import Box

By = Literal["image", "text", "id"]

AWAY = 0.5
"""How much an example that is not to be found counts, unless a weight says otherwise: at 1 the words that both sides of
"like this, not like that" share would cancel out, and little more than noise would be left of the query."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One image, or a region of it, a few words, or a row of the table."""

    by: By
    value: str
    """A path or URI, words, or an id."""
    box: Box | None = None
    """The region of an image."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """The weighted sum of the examples' vectors, each at unit length."""

    examples: tuple[Example, ...]
    """At least one."""
    weights: tuple[float, ...]
    """One for each example, below 0 for what is not to be found. The first of a query that has one only means
    nothing."""

    @classmethod
    def of(cls, by: By, value: str, box: Box | None = None) -> "Query":
        """The query by one example."""
        return cls(examples=(Example(by=by, value=value, box=box),), weights=(1.0,))

    @property
    def row(self) -> str | None:
        """The id, where the query is one row of the table."""
        first = self.examples[0]
        return first.value if first.by == "id" and len(self.examples) == 1 else None
