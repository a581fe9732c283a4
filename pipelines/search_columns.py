"""A vector column as it can be searched: how it is stored, and how queries are brought to it."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from operators.artifacts import read_artifact
from operators.codecs import Codec, make_codec
from operators.columns import flatten_lists, vectors_from_numpy, vectors_to_numpy
from operators.derive import vector_type
from operators.reduce_vectors import ReduceVectors
from operators.reduction import Reduction, reduction_chain
from operators.storage import NO_OPTIONS, StorageOptions
from pipelines.reductions import locate_artifacts
from pipelines.space import read_reduction


@dataclass(frozen=True)
class SearchColumn:
    """Where vectors lie, and what a query goes through to be compared with them."""

    name: str
    codec: Codec
    reduction: Reduction | None
    """None of a base column."""
    multivector: bool
    """Whether a row holds a list of vectors."""
    storage: StorageOptions

    @property
    def base(self) -> str:
        """The column that a model fills."""
        return self.reduction.base if self.reduction else self.name

    def queries(self, vectors_QD: np.ndarray) -> np.ndarray:
        """Vectors of the base column, (Q, dim), by the very operators that made the rows', up to the quantisation.

        Raises `ValueError` where nothing is left of one.
        """
        if self.reduction is None:
            return vectors_QD.astype(np.float32)
        chain = reduction_chain(self.reduction, self.name, self.storage)[:-1]
        made, reasons = ReduceVectors(chain, self.reduction.base, self.name)(vectors_from_numpy(vectors_QD))
        if reasons:
            raise ValueError(f"column {self.name}: {next(iter(reasons.values()))}")
        return flat_numpy(made).astype(np.float32)


def search_column(
    field: pa.Field, storage: StorageOptions = NO_OPTIONS, *, artifacts: str | None = None
) -> SearchColumn:
    """From the field of a table. What it was reduced with is looked for in the folder `artifacts`, beside the table,
    before the place where it was recorded. Raises `ArtifactError` where it is gone."""
    reduction, kind = read_reduction(field), vector_type(field.type)
    if reduction is not None and artifacts is not None:
        reduction = locate_artifacts(reduction, artifacts, storage)
    if reduction is None:
        codec = make_codec("float16" if kind.value_type == pa.float16() else "float32", kind.list_size)
    else:
        artifact = read_artifact(reduction.quantizer, storage) if reduction.quantizer else None
        codec = make_codec(reduction.precision, reduction.dim, artifact)
    return SearchColumn(field.name, codec, reduction, pa.types.is_list(field.type), storage)


def flat_numpy(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(M, width) of all vectors of a column without nulls, those of lists one behind the other."""
    column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    return vectors_to_numpy(flatten_lists(column)[0] if pa.types.is_list(column.type) else column)
