"""How vectors are stored in a column, and how queries are compared with what is stored: one codec for each
precision."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa

from operators.storage.artifacts import Artifact, ArtifactError
from operators.vectors.binary_codes import BinaryCodec, fit_binary
from operators.vectors.float_codes import FloatCodec
from operators.vectors.product_codes import ProductCodec, fit_product
from operators.vectors.scalar_codes import ScalarCodec, fit_scalar

StoragePrecision = Literal["float32", "float16", "int8", "binary", "pq"]
FITTED = ("int8", "binary", "pq")
"""Precisions that need a quantizer fitted on a sample of the vectors."""


class Codec(Protocol):
    """Encodes vectors of `dim` floats to what is stored."""

    dim: int
    value_type: pa.DataType
    width: int
    """Number of values stored for one vector."""

    def encode(self, vectors_ND: np.ndarray) -> np.ndarray:
        """From (N, dim) float32 to (N, width) of `value_type`."""

    def decode(self, codes_NW: np.ndarray) -> np.ndarray:
        """From (N, width) as stored to (N, dim) float32, as in a query by a stored row."""

    def scores(self, queries_QD: np.ndarray, codes_NW: np.ndarray) -> np.ndarray:
        """(Q, N) float32: cosine of each query (Q, dim) float32 to each stored vector; 1 for the same direction."""


def make_codec(precision: StoragePrecision, dim: int, artifact: Artifact | None = None) -> Codec:
    """The codec of vectors of length `dim`. `artifact` is what `fit_codec` fitted, for the precisions of `FITTED`.

    Raises `ArtifactError` where it is of another kind or length.
    """
    if precision not in FITTED:
        return FloatCodec(dim, precision)
    if artifact is None or artifact.kind != precision:
        kind = "nothing" if artifact is None else f"an artifact of kind {artifact.kind!r}"
        raise ArtifactError(f"quantize {precision}: needs an artifact of kind {precision!r}, and {kind} was given")
    made: Codec = {"int8": ScalarCodec, "binary": BinaryCodec, "pq": ProductCodec}[precision](**artifact.tensors)
    if made.dim != dim:
        raise ArtifactError(
            f"quantize {precision}: the artifact was fitted on vectors of length {made.dim}, these have {dim}"
        )
    return made


def fit_codec(
    precision: StoragePrecision, sample_ND: np.ndarray, *, pq_bytes: int, space: Mapping[str, Any]
) -> Artifact:
    """The quantizer of a precision of `FITTED`, fitted on (N, dim) float32 of the recorded space.

    `settings` tell how well it preserves the sample: the cosine of each vector to what its codes stand for. Raises
    `ArtifactError` where the sample is too small or the length does not fit.
    """
    settings: dict[str, Any] = {}
    if precision == "int8":
        tensors = fit_scalar(sample_ND)
    elif precision == "binary":
        tensors = fit_binary(sample_ND)
    else:
        tensors, settings = fit_product(sample_ND, pq_bytes), {"bytes": pq_bytes}
    fitted = Artifact(kind=precision, tensors=tensors, space=space, rows=len(sample_ND), settings=settings)
    codec = make_codec(precision, sample_ND.shape[1], fitted)
    agree = _self_scores(codec, sample_ND)
    kept = {"self_score_mean": float(agree.mean()), "self_score_min": float(agree.min())}
    return replace(fitted, settings={**settings, **kept})


def _self_scores(codec: Codec, vectors_ND: np.ndarray) -> np.ndarray:
    """(N,): the score of each vector to its own codes."""
    return np.array([codec.scores(row[None], codec.encode(row[None]))[0, 0] for row in vectors_ND[:2000]])
