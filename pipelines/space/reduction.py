"""How a column is derived from another: PCA or head, truncation, renormalisation, quantisation, in this one order."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, PositiveInt

from operators.base.arrays import spread
from operators.base.columns import ERROR, ERROR_FIELDS
from operators.base.operator import Operator, OperatorConfig
from operators.base.rows import good_rows
from operators.head import HeadConfig
from operators.normalize import RenormalizeConfig
from operators.pca import PcaConfig
from operators.quantize import QuantizeConfig
from operators.storage.artifacts import ArtifactRef
from operators.storage.stores import NO_OPTIONS, StorageOptions
from operators.truncate import TruncateConfig
from operators.vectors.codecs import StoragePrecision

REDUCING = ("pca", "head", "truncate", "renormalize", "quantize")
"""Names of the operators, in the order of the chain."""


class PcaStep(BaseModel):
    """A fitted PCA, as far as the plan must know it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    artifact: ArtifactRef
    dim: PositiveInt
    """Number of components."""
    whiten: bool


class HeadStep(BaseModel):
    """A trained head, as far as the plan must know it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    artifact: ArtifactRef
    dim: PositiveInt
    """Length of its vectors."""
    dims: tuple[PositiveInt, ...]
    """Lengths that it was trained to be cut to, its own among them."""
    hidden: bool = False
    """Whether it has a hidden layer."""


class Reduction(BaseModel):
    """How a derived column is made of the stored vectors of its base column. Stored with the derived column."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    """The base column, which a model fills."""
    base_dim: PositiveInt
    pca: PcaStep | None = None
    head: HeadStep | None = None
    truncate_dim: PositiveInt | None = None
    renormalize: bool = True
    precision: StoragePrecision = "float16"
    quantizer: ArtifactRef | None = None
    """Fitted quantizer of int8, binary and pq."""
    pq_bytes: PositiveInt | None = None

    @property
    def dim(self) -> int:
        """Length of the vectors that are quantised."""
        fitted = self.pca or self.head
        return self.truncate_dim or (fitted.dim if fitted else self.base_dim)

    def makes_the_same(self, other: "Reduction") -> bool:
        """Whether both derive the same from the same column, wherever their artifacts lie."""
        places: Any = {"pca": {"artifact": {"uri"}}, "head": {"artifact": {"uri"}}, "quantizer": {"uri"}}
        return self.model_dump(exclude=places) == other.model_dump(exclude=places)

    @property
    def changes_length(self) -> bool:
        return self.pca is not None or self.head is not None or self.truncate_dim is not None


def reduction_chain(
    reduction: Reduction, column: str, storage: StorageOptions = NO_OPTIONS
) -> tuple[OperatorConfig, ...]:
    """The operators from the base column to `column`, without those that change nothing; the last one quantises."""
    chain: list[OperatorConfig] = []
    source = reduction.base
    if reduction.pca:
        pca = reduction.pca
        chain.append(
            PcaConfig(
                artifact=pca.artifact, dim=pca.dim, whiten=pca.whiten, source=source, column=column, storage=storage
            )
        )
        source = column
    if reduction.head:
        head = reduction.head
        chain.append(HeadConfig(artifact=head.artifact, dim=head.dim, source=source, column=column, storage=storage))
        source = column
    if reduction.truncate_dim:
        chain.append(TruncateConfig(dim=reduction.truncate_dim, source=source, column=column))
        source = column
    if reduction.renormalize and reduction.changes_length:
        chain.append(RenormalizeConfig(column=column))
    chain.append(
        QuantizeConfig(
            precision=reduction.precision,
            dim=reduction.dim,
            artifact=reduction.quantizer,
            pq_bytes=reduction.pq_bytes,
            source=source,
            column=column,
            storage=storage,
        )
    )
    return tuple(chain)


class ReduceVectors:
    """From vectors of a base column to those of a derived column. Pickled as its configs, and built where it is first
    used.

    Without operators it returns its input.
    """

    def __init__(self, chain: Sequence[OperatorConfig], source: str, column: str) -> None:
        """`column` is what the chain makes from `source`; they are the same where there are no operators."""
        self.chain = tuple(chain)
        self.source = source
        self.column = column if chain else source
        self._operators: list[Operator[OperatorConfig]] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_operators": None}

    def __call__(self, vectors: pa.Array) -> tuple[pa.Array, dict[int, str]]:
        """(what the last operator makes, null where `vectors` is null or gives nothing; index -> why nothing came of
        it)."""
        if self._operators is None:
            self._operators = [config.build() for config in self.chain]
        present = np.flatnonzero(vectors.is_valid())
        kept = vectors.take(pa.array(present))
        schema = pa.schema([pa.field(self.source, vectors.type), *ERROR_FIELDS])
        table = pa.table([kept, *(pa.nulls(len(kept), f.type) for f in ERROR_FIELDS)], schema=schema)
        for operator in self._operators:
            table = operator(table)
        bad = np.flatnonzero(~good_rows(table).to_numpy())
        reasons = {int(present[index]): table[ERROR.name][int(index)].as_py() for index in bad}
        return spread(table[self.column].combine_chunks(), present, len(vectors)), reasons


def describe_reduction(reduction: Reduction) -> str:
    """The reduction in one line for a person."""
    steps = []
    if reduction.pca:
        steps.append(f"PCA to {reduction.pca.dim}{', whitened' if reduction.pca.whiten else ''}")
    if reduction.head:
        steps.append(f"a trained head to {reduction.head.dim}")
    if reduction.truncate_dim:
        steps.append(f"cut to {reduction.truncate_dim}")
    stored = f"{reduction.precision} of {reduction.pq_bytes} bytes" if reduction.pq_bytes else reduction.precision
    return f"of {reduction.base}: {', '.join([*steps, stored])}"
