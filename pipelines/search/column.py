"""A vector column as it can be searched: how it is stored, by which metric, and how a query is made comparable with
it."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from operators.base.arrays import vectors_from_numpy
from operators.storage.artifacts import read_artifact
from operators.storage.stores import NO_OPTIONS, StorageOptions
from operators.vectors.apply import vector_type
from operators.vectors.binary_codes import BinaryCodec
from operators.vectors.codecs import Codec, make_codec
from operators.vectors.float_codes import FloatCodec, float_scores
from pipelines.space.field import read_reduction
from pipelines.space.flat import Metric, flat_numpy
from pipelines.space.reduce_options import locate_artifacts
from pipelines.space.reduction import ReduceVectors, Reduction, reduction_chain


@dataclass(frozen=True)
class SearchColumn:
    """A vector column, and what a query goes through to be compared with its vectors."""

    name: str
    codec: Codec
    reduction: Reduction | None
    """How the column is derived; None for a base column."""
    multivector: bool
    """Whether a row holds a list of vectors."""
    storage: StorageOptions
    metric: Metric
    """The metric of nearness: that of the column's index, else `cosine`, for packed bits `hamming`."""

    @property
    def base(self) -> str:
        """The column that a model fills."""
        return self.reduction.base if self.reduction else self.name

    def queries(self, vectors_QD: np.ndarray) -> np.ndarray:
        """Queries as (Q, dim) vectors of the base column, brought to this column by the very operators that made the
        rows', up to the quantisation.

        Raises `ValueError` where nothing is left of a vector.
        """
        if self.reduction is None:
            return vectors_QD.astype(np.float32)
        chain = reduction_chain(self.reduction, self.name, self.storage)[:-1]
        made, reasons = ReduceVectors(chain, self.reduction.base, self.name)(vectors_from_numpy(vectors_QD))
        if reasons:
            raise ValueError(f"column {self.name}: {next(iter(reasons.values()))}")
        return flat_numpy(made).astype(np.float32)

    def lance_queries(self, vectors_QD: np.ndarray) -> np.ndarray:
        """Vectors of the base column in the form that a search of this column by Lance or lancedb takes: (Q, dim)
        float32, or (Q, dim / 8) uint8 for packed bits.

        Raises `ValueError` where Lance cannot search the column, and where nothing is left of a vector.
        """
        return self.as_stored(self.queries(vectors_QD))

    def as_stored(self, queries_QD: np.ndarray) -> np.ndarray:
        """The result of `queries` in the form that Lance compares. Raises `ValueError` where Lance cannot search the
        column."""
        if not self.searched_by_lance:
            what = "lists of packed bits" if isinstance(self.codec, BinaryCodec) else "codes"
            raise ValueError(
                f"column {self.name}: holds {what}, which Lance cannot compare with a query; `pixlake search` does"
            )
        return self.codec.encode(queries_QD) if isinstance(self.codec, BinaryCodec) else queries_QD

    @property
    def searched_by_lance(self) -> bool:
        """Whether Lance compares the column, by an index where there is one; all other columns are read through
        here."""
        return isinstance(self.codec, FloatCodec) or (isinstance(self.codec, BinaryCodec) and not self.multivector)

    def scores(self, queries_QD: np.ndarray, stored_NW: np.ndarray) -> np.ndarray:
        """(Q, N) float32, the nearer the larger: by the metric; for bits and codes the cosine to what they stand
        for."""
        if isinstance(self.codec, FloatCodec) and self.metric != "hamming":
            return float_scores(queries_QD, self.codec.decode(stored_NW), self.metric)
        return self.codec.scores(queries_QD, stored_NW)


def search_column(
    field: pa.Field,
    storage: StorageOptions = NO_OPTIONS,
    *,
    artifacts: str | None = None,
    metric: Metric | None = None,
) -> SearchColumn:
    """The search column of a table's field. Artifacts of its reduction are looked for in the folder `artifacts`, beside
    the table, before the place where they were recorded. `metric` is that of the column's index, where there is one.
    Raises `ArtifactError` where an artifact is gone."""
    reduction, kind = read_reduction(field), vector_type(field.type)
    if reduction is not None and artifacts is not None:
        reduction = locate_artifacts(reduction, artifacts, storage)
    if reduction is None:
        codec = make_codec("float16" if kind.value_type == pa.float16() else "float32", kind.list_size)
    else:
        artifact = read_artifact(reduction.quantizer, storage) if reduction.quantizer else None
        codec = make_codec(reduction.precision, reduction.dim, artifact)
    metric = metric or ("hamming" if isinstance(codec, BinaryCodec) else "cosine")
    return SearchColumn(field.name, codec, reduction, pa.types.is_list(field.type), storage, metric)
