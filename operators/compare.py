"""Sets images aside whose vectors are there already, by their bytes, right after they are fetched."""

from bisect import bisect_left
from typing import ClassVar

import pyarrow as pa

from operators.base.columns import KNOWN_SHA256, SHA256
from operators.base.operator import Operator, OperatorConfig
from operators.base.rows import mark_same

_DIGEST_BYTES = 32


class CompareConfig(OperatorConfig):
    """Marks rows as `same_bytes`: where `sha256` is the one that the table has under the row's id, and of images that
    are new to it, where it is one of `moved`."""

    name: ClassVar[str] = "compare"

    moved: bytes = b""
    """Sorted sha256 digests, 32 bytes each, of images whose vectors are there to be taken by a new key."""

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({SHA256.name, KNOWN_SHA256.name})

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return schema

    def build(self) -> "CompareBytes":
        return CompareBytes(self)


class CompareBytes(Operator[CompareConfig]):
    """Compares digests."""

    def transform(self, batch: pa.Table) -> pa.Table:
        pairs = zip(batch[SHA256.name].to_pylist(), batch[KNOWN_SHA256.name].to_pylist(), strict=True)
        same = [row for row, (digest, known) in enumerate(pairs) if self._is_there(digest, known)]
        return mark_same(batch, same, self.config.name)

    def _is_there(self, digest: str | None, known: str | None) -> bool:
        if digest is None or known is not None:
            return digest is not None and digest == known
        return holds_digest(self.config.moved, bytes.fromhex(digest))


def holds_digest(digests: bytes, wanted: bytes) -> bool:
    """Whether the sorted digests, 32 bytes each, hold the one that is wanted."""
    numbers = range(len(digests) // _DIGEST_BYTES)
    at = bisect_left(numbers, wanted, key=lambda n: digests[n * _DIGEST_BYTES : (n + 1) * _DIGEST_BYTES])
    return at in numbers and digests[at * _DIGEST_BYTES : (at + 1) * _DIGEST_BYTES] == wanted
