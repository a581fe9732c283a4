"""What a user asks to be derived from a vector column, resolved: artifacts found, and checked against the column's
space."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from operators.base.errors import PlanError
from operators.storage.artifacts import Artifact, ArtifactRef, find_artifact, list_artifacts, locate_artifact
from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions
from operators.vectors.codecs import FITTED, StoragePrecision
from pipelines.space.field import SpaceError
from pipelines.space.record import Record, differences, reduced_record
from pipelines.space.reduction import HeadStep, PcaStep, Reduction, reduction_chain

LATEST = "latest"
"""Stands for a file: the PCA, or the head, beside the table that was made last of the column's vectors."""
MAKERS = {"pca": "pixlake fit-pca", "head": "pixlake train-head"}
"""Kind of artifact -> the command that makes one."""


class ReduceOptions(BaseModel):
    """One derived column. `docs/reduction.md` explains every field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str | None = None
    """The base column; must be given where there are several."""
    pca: str | None = Field(default=None, min_length=1)
    """Path or URI of what `pixlake fit-pca` wrote; `pixlake reduce` also takes `latest`."""
    head: str | None = Field(default=None, min_length=1)
    """Path or URI of what `pixlake train-head` wrote; `pixlake reduce` also takes `latest`."""
    truncate_dim: PositiveInt | None = None
    allow_untrained_truncation: bool = False
    quantize: StoragePrecision = "float16"
    quantizer: str | None = Field(default=None, min_length=1)
    """Quantizer for int8, binary and pq: path or URI of what an earlier `pixlake reduce` fitted."""


def resolve_reduction(
    options: ReduceOptions,
    *,
    column: str,
    base: str,
    dim: int,
    record: Record,
    trained_dims: Sequence[int],
    storage: StorageOptions,
) -> Reduction:
    """The reduction from the base column `base`, of length `dim` and space `record`, to `column`.

    `trained_dims` are the lengths that the model was trained to be cut to. Where `quantize` needs a quantizer and none
    is named, it is left open: `with_quantizer` fills it in. Raises `PlanError`, `SpaceError` or `ArtifactError` for
    what does not fit.
    """
    if options.pca and options.head:
        raise PlanError(f"column {column}: pca and head are both given; a head takes the place of a PCA: choose one")
    pca = _resolve_pca(options.pca, column, record, storage) if options.pca else None
    head = _resolve_head(options.head, column, record, storage) if options.head else None
    if head is not None:
        _check_truncation(options, column, head.dim, False, head.dims, what="head")
    else:
        _check_truncation(options, column, pca.dim if pca else dim, pca is not None, trained_dims)
    reduction = Reduction(
        base=base,
        base_dim=dim,
        pca=pca,
        head=head,
        truncate_dim=options.truncate_dim,
        # Vectors that the table stores at their own length keep it.
        renormalize=bool(record["normalize"]["l2"]),
        precision=options.quantize,
    )
    if options.quantizer is None:
        return reduction
    if options.quantize not in FITTED:
        raise PlanError(f"column {column}: quantizer is given, and quantize is {options.quantize}, which needs none")
    return with_quantizer(reduction, *find_artifact(options.quantizer, storage), column=column, record=record)


def with_quantizer(
    reduction: Reduction, ref: ArtifactRef, artifact: Artifact, *, column: str, record: Record
) -> Reduction:
    """The reduction with the artifact that its precision needs. `record` is the base column's."""
    if artifact.kind != reduction.precision:
        raise PlanError(
            f"column {column}: {redact_uri(ref.uri)} was fitted for {artifact.kind}, quantize is {reduction.precision}"
        )
    _check_fitted_on(ref, artifact, record_before_quantizing(reduction, column, record), column)
    pq_bytes = artifact.settings["bytes"] if artifact.kind == "pq" else None
    return reduction.model_copy(update={"quantizer": ref, "pq_bytes": pq_bytes})


def locate_artifacts(reduction: Reduction, folder: str, storage: StorageOptions) -> Reduction:
    """A recorded reduction with its artifacts at their present places; `folder` is the one beside the table. Raises
    `ArtifactError`."""
    pca, head, quantizer = reduction.pca, reduction.head, reduction.quantizer
    if pca is not None:
        pca = pca.model_copy(update={"artifact": locate_artifact(pca.artifact, folder, storage)})
    if head is not None:
        head = head.model_copy(update={"artifact": locate_artifact(head.artifact, folder, storage)})
    if quantizer is not None:
        quantizer = locate_artifact(quantizer, folder, storage)
    return reduction.model_copy(update={"pca": pca, "head": head, "quantizer": quantizer})


def record_before_quantizing(reduction: Reduction, column: str, record: Record) -> Record:
    """The space of the vectors before quantisation, which quantizers are fitted on. `record` is the base column's."""
    plain = reduction.model_copy(update={"precision": "float32", "quantizer": None, "pq_bytes": None})
    return reduced_record(record, reduction_chain(plain, column)[:-1], column)


def latest_fitted(kind: str, folder: str, base: str, record: Record, storage: StorageOptions) -> str:
    """URI of the artifact of a kind of `MAKERS` in the folder that was made last of vectors of this space. Raises
    `PlanError` where there is none or two could be meant, `ArtifactError`."""
    fitting: list[tuple[str, datetime]] = []
    for uri, written in list_artifacts(folder, kind, storage):
        if fitting and written != fitting[0][1]:
            break
        if not differences(record, dict(find_artifact(uri, storage)[1].space)):
            fitting.append((uri, written))
    if not fitting:
        raise PlanError(
            f"{kind} = {LATEST}: none in {redact_uri(folder)} was fitted on vectors like those of {base}; "
            f"`{MAKERS[kind]}` makes one"
        )
    if len(fitting) > 1:
        named = " and ".join(redact_uri(uri) for uri, _ in fitting)
        raise PlanError(f"{kind} = {LATEST}: {named} were written in the same instant; name one of them")
    return fitting[0][0]


def _resolve_pca(uri: str, column: str, record: Record, storage: StorageOptions) -> PcaStep:
    ref, artifact = _find_fitted("pca", uri, column, record, storage)
    return PcaStep(artifact=ref, dim=len(artifact.tensors["components"]), whiten=bool(artifact.settings["whiten"]))


def _resolve_head(uri: str, column: str, record: Record, storage: StorageOptions) -> HeadStep:
    ref, artifact = _find_fitted("head", uri, column, record, storage)
    return HeadStep(
        artifact=ref,
        dim=len(artifact.tensors["weight"]),
        dims=tuple(artifact.settings["dims"]),
        hidden="hidden" in artifact.tensors,
    )


def _find_fitted(
    kind: str, uri: str, column: str, record: Record, storage: StorageOptions
) -> tuple[ArtifactRef, Artifact]:
    """An artifact of a kind of `MAKERS` that is for vectors of this space. Raises `PlanError`, `SpaceError` or
    `ArtifactError`."""
    if uri == LATEST:
        raise PlanError(
            f"column {column}: {kind} = {LATEST} is of `pixlake reduce`, which finds it beside the table; name the "
            f"file here (one that is called so: ./{LATEST})"
        )
    ref, artifact = find_artifact(uri, storage)
    if artifact.kind != kind:
        named = {"pca": "PCA"}.get(kind, kind)
        raise PlanError(f"column {column}: {redact_uri(uri)} is no {named} but an artifact of kind {artifact.kind!r}")
    _check_fitted_on(ref, artifact, record, column)
    return ref, artifact


def _check_fitted_on(ref: ArtifactRef, artifact: Artifact, record: Record, column: str) -> None:
    lines = differences(record, dict(artifact.space))
    if lines:
        shown = "\n  ".join(line.replace("this run has", "the artifact's vectors had") for line in lines)
        raise SpaceError(
            f"column {column}: {redact_uri(ref.uri)} was fitted on vectors of another space:\n  {shown}\n  "
            "Fit one on this table's own vectors"
        )


def _check_truncation(
    options: ReduceOptions,
    column: str,
    dim: int,
    behind_pca: bool,
    trained_dims: Sequence[int],
    *,
    what: str = "model",
) -> None:
    cut = options.truncate_dim
    if cut is None:
        return
    if cut >= dim:
        raise PlanError(
            f"column {column}: truncate_dim = {cut} of vectors of length {dim}: there is nothing to cut; leave it out"
        )
    if behind_pca or cut in trained_dims or options.allow_untrained_truncation:
        return
    trained = (
        f"was trained to be cut to {', '.join(map(str, trained_dims))}"
        if trained_dims
        else ("is not known to be trained for it")
    )
    raise PlanError(
        f"column {column}: the {what} {trained}, and the first {cut} components of other vectors can lose "
        "most of their meaning. A PCA (`pixlake fit-pca`) keeps more at the same length; allow_untrained_truncation "
        "(--allow-untrained-truncation) cuts all the same, and `pixlake evaluate` shows what is lost"
    )
