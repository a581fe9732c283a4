"""What the vectors of an export are, and what their reader needs: the files fitted for derived columns, which turn
codes into vectors and an image's vector into a query."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from operators.storage.artifacts import ArtifactRef, artifact_bytes
from operators.storage.stores import StorageOptions
from pipelines.export.plan import ExportRequest, export_schema
from pipelines.space.field import describe_vectors, read_reduction
from pipelines.space.reduce_options import locate_artifacts
from pipelines.space.reduction import Reduction

_DECODE = {
    "int8": "vectors = codes * scale + offset",
    "binary": "bits = numpy.unpackbits(codes, axis=1, count=len(thresholds)), the first dimension the highest bit of "
    "the first byte; a bit is 1 where the component is over its threshold",
    "pq": "vectors = codebook[numpy.arange(len(codebook)), codes].reshape(len(codes), -1)",
}
"""Precision -> how to decode its codes, in the names of the tensors of its quantizer."""
_PROJECT = "vectors = (base_vectors - mean) @ components[:K].T"
_HEAD = "centred = base_vectors - mean; vectors = centred @ weight.T"
_HIDDEN = " + numpy.maximum(centred @ hidden.T + bias, 0) @ output.T"
_WHITEN = ", divided by numpy.sqrt(explained_variance[:K])"


@dataclass(frozen=True, kw_only=True)
class FittedFile:
    """A fitted file of a derived column, as it lies beside an export."""

    column: str
    role: str
    """`quantizer`, `pca` or `head`."""
    artifact: ArtifactRef
    """The original file."""
    use: str
    """NumPy code that applies it, in the names of the file's tensors."""

    @property
    def ending(self) -> str:
        """End of the file's name, after the name of the export's folder."""
        return f"{self.column}.{self.role}.safetensors"

    def data(self, storage: StorageOptions) -> bytes:
        """The file's bytes. Raises `ArtifactError` where the file is gone or another one."""
        return artifact_bytes(self.artifact, storage)


def fitted_files(fields: Iterable[pa.Field], folder: str, storage: StorageOptions) -> list[FittedFile]:
    """The fitted files of the derived columns among the fields; `folder` holds the table's artifacts. Raises
    `ArtifactError` where one is gone: codes without it are noise, and no query can be compared with a projection."""
    found: list[FittedFile] = []
    for field in fields:
        reduction = read_reduction(field)
        if reduction is not None:
            found += _of(field.name, locate_artifacts(reduction, folder, storage))
    return found


def _of(column: str, reduction: Reduction) -> Iterator[FittedFile]:
    if reduction.quantizer is not None:
        yield FittedFile(
            column=column, role="quantizer", artifact=reduction.quantizer, use=_DECODE[reduction.precision]
        )
    if reduction.pca is not None:
        use = (_PROJECT + (_WHITEN if reduction.pca.whiten else "")).replace("K", str(reduction.pca.dim))
        yield FittedFile(column=column, role="pca", artifact=reduction.pca.artifact, use=use)
    if reduction.head is not None:
        use = _HEAD + (_HIDDEN if reduction.head.hidden else "")
        yield FittedFile(column=column, role="head", artifact=reduction.head.artifact, use=use)


def describe_exported(
    schema: pa.Schema, request: ExportRequest, fitted: Iterable[FittedFile], folder_name: str
) -> dict[str, dict[str, Any]]:
    """Vector column -> all that the table records of it, the type it is written as where that differs, and the fitted
    files beside the folder; JSON-ready. `schema` is the table's."""
    about = {name: describe_vectors(schema.field(name)) for name in request.vectors}
    for field in export_schema(schema, request):
        if field.name in about and field.type != schema.field(field.name).type:
            about[field.name]["written_as"] = request.dtype
    for file in fitted:
        name = f"{folder_name}.{file.ending}"
        about[file.column][file.role] = {"file": name, "sha256": file.artifact.sha256, "use": file.use}
    return about
