"""What every segment of an index must share: centroids, and a codebook or rotation, trained once on a sample of rows.

The model is trained on float32 whatever is stored (Lance trains float16 about ten times slower on CPUs), and kept as an
artifact beside the table, so that later rows are indexed with the same one.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from operators.base.errors import UserError
from operators.storage.artifacts import Artifact
from operators.vectors.apply import vector_type
from pipelines.index.records import IndexType
from pipelines.space.flat import Metric, comparable

ARTIFACT_KIND = "index"
ITERATIONS = 12
"""Iterations of k-means. Recall at 200,000 rows did not change beyond the third digit from 12 to 25."""
SAMPLES_PER_PARTITION = 64
LEAST_SAMPLE = 16_384
"""Least rows to train on: enough for a codebook of 256 entries, too."""


@dataclass(frozen=True, kw_only=True)
class IndexSpec:
    """The type of an index, with every number that decides what it is; None where the type has no such number."""

    column: str
    type: IndexType
    metric: Metric
    num_partitions: int
    num_sub_vectors: int | None = None
    num_bits: int | None = None
    m: int | None = None
    ef_construction: int | None = None
    sample_rows: int
    """Rows that the model is trained on."""
    seed: int

    @property
    def parameters(self) -> dict[str, int]:
        """The parameters that Lance takes, by its names."""
        names = ("num_partitions", "num_sub_vectors", "num_bits", "m", "ef_construction")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@dataclass(frozen=True, kw_only=True)
class IndexModel:
    """A model trained for one `IndexSpec`."""

    centroids: np.ndarray
    """(num_partitions, dim), float32, or uint8 of packed bits for `hamming`."""
    codebook: np.ndarray | None = None
    """(num_sub_vectors, 2 ** num_bits, dim / num_sub_vectors) float32, of types with PQ."""
    rotation: str | None = None
    """Lance's own JSON, for `IVF_RQ`: segments with different rotations cannot be merged."""

    def to_artifact(self, spec: IndexSpec, space: dict[str, Any]) -> Artifact:
        tensors = {"centroids": self.centroids} | ({} if self.codebook is None else {"codebook": self.codebook})
        about = {"type": spec.type, "metric": spec.metric, **spec.parameters, "seed": spec.seed}
        settings = {**about, "rotation": self.rotation}
        return Artifact(kind=ARTIFACT_KIND, tensors=tensors, space=space, rows=spec.sample_rows, settings=settings)

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> "IndexModel":
        tensors = artifact.tensors
        rotation = artifact.settings.get("rotation")
        return cls(centroids=tensors["centroids"], codebook=tensors.get("codebook"), rotation=rotation)


def train_model(vectors: np.ndarray, spec: IndexSpec) -> IndexModel:
    """A model trained on (M, dim) stored vectors. Raises `UserError` where there are fewer than partitions, or than
    codes."""
    if len(vectors) < spec.num_partitions:
        raise UserError(
            f"column {spec.column}: {len(vectors)} vectors cannot be cut into {spec.num_partitions} partitions; lower "
            "--num-partitions"
        )
    floats = comparable(vectors, spec.metric)
    centroids = _train_centroids(floats, spec)
    if spec.metric == "hamming":
        # The mean of bits, cut at a half, is the majority: the centroid of k-modes.
        return IndexModel(centroids=np.packbits(centroids > 0, axis=1))
    if spec.num_sub_vectors is not None:
        return IndexModel(centroids=centroids, codebook=_train_codebook(floats, centroids, spec))
    if spec.type == "IVF_RQ" and spec.num_bits is not None:
        return IndexModel(centroids=centroids, rotation=_draw_rotation(vectors.shape[1], spec.num_bits, spec.seed))
    return IndexModel(centroids=centroids)


def _train_centroids(floats: np.ndarray, spec: IndexSpec) -> np.ndarray:
    """(num_partitions, D) float32 by k-means; of unit length where only the angle counts."""
    import faiss

    kmeans = faiss.Kmeans(
        floats.shape[1],
        spec.num_partitions,
        niter=ITERATIONS,
        seed=spec.seed,
        spherical=spec.metric == "cosine",
        min_points_per_centroid=1,
        max_points_per_centroid=len(floats),
    )
    kmeans.train(floats)
    return np.asarray(kmeans.centroids, np.float32)


def _train_codebook(floats: np.ndarray, centroids: np.ndarray, spec: IndexSpec) -> np.ndarray:
    """A PQ codebook, trained on the residual of each vector from its centroid; for `dot`, as Lance does, on the vectors
    themselves."""
    import faiss

    assert spec.num_sub_vectors is not None
    assert spec.num_bits is not None
    if len(floats) < 2**spec.num_bits:
        raise UserError(
            f"column {spec.column}: {len(floats)} vectors are too few for a codebook of {2**spec.num_bits}; index it "
            "as IVF_SQ or IVF_RQ, or lower --num-bits"
        )
    if spec.metric != "dot":
        index = faiss.IndexFlatL2(floats.shape[1])
        index.add(centroids)
        floats = floats - centroids[index.search(floats, 1)[1][:, 0]]
    quantizer = faiss.ProductQuantizer(floats.shape[1], spec.num_sub_vectors, spec.num_bits)
    quantizer.cp.seed, quantizer.cp.niter, quantizer.cp.min_points_per_centroid = spec.seed, ITERATIONS, 1
    quantizer.train(floats)
    codes: np.ndarray = faiss.vector_to_array(quantizer.centroids)
    return codes.reshape(spec.num_sub_vectors, 2**spec.num_bits, -1)


def _draw_rotation(dim: int, num_bits: int, seed: int) -> str:
    """Lance's model of RaBitQ (Gao and Long, 2024), its random signs drawn with our seed."""
    from lance import lance as native

    model = json.loads(native.indices.build_rq_model(dim, num_bits))
    signs = model["fast_rotation_signs"]
    model["fast_rotation_signs"] = np.random.default_rng(seed).integers(0, 256, len(signs)).tolist()
    return json.dumps(model)


def lance_arguments(model: IndexModel, stored: pa.DataType) -> dict[str, Any]:
    """The model as keyword arguments of Lance's builder, in the element type of the column."""
    element = vector_type(stored).value_type
    arguments: dict[str, Any] = {"ivf_centroids": _as_lists(model.centroids, element)}
    if model.codebook is not None:
        arguments["pq_codebook"] = _as_lists(model.codebook, element)
    if model.rotation is not None:
        arguments["rabitq_model"] = model.rotation
    return arguments


def _as_lists(values: np.ndarray, element: pa.DataType) -> pa.FixedSizeListArray:
    flat = pa.array(values.reshape(-1).astype(element.to_pandas_dtype()))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[-1])
