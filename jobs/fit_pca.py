"""`pixlake fit-pca`: a principal component analysis of a table's vectors, stored beside the table."""

import json
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, Field

from jobs.config.read import ClusterReadConfig
from jobs.session.progress import Progress
from jobs.session.ray_cluster import fragment_tasks
from operators.storage.artifacts import Artifact, write_artifact
from pipelines.derivation.fit_pca import PcaOfTable, fit_pca_of_table, vector_grid
from pipelines.space.choose import base_columns, choose_base
from pipelines.space.field import DIGEST_KEY, read_reductions, read_space

KIND = "pca"


def check_dim(dim: Any) -> Any:
    if not isinstance(dim, int | float) or (dim < 1 if isinstance(dim, int) else not 0 < dim < 1):
        raise ValueError("a number of components from 1 on, or a share of the variance between 0 and 1, like 0.95")
    return dim


class FitPcaConfig(ClusterReadConfig):
    """What is fitted, and on which vectors."""

    column: str | None = None
    """A column that a model fills; default: the only one."""
    dim: Annotated[int | float, BeforeValidator(check_dim)]
    """A number of components, or the share of the variance, such as 0.95, that the fewest possible must explain."""
    whiten: bool = False
    """Components are to be brought to unit variance when the PCA is applied."""
    sample: int | None = Field(default=None, ge=2)
    """About so many rows are read, the same ones each time; default: all."""


class PcaReport(BaseModel):
    """A PCA that is stored."""

    table: str
    version: int
    """Version of the table that was read."""
    column: str
    space_digest: str
    uri: str
    sha256: str
    dim: int
    """Components."""
    input_dim: int
    whiten: bool
    explained: float
    """Share of the variance that the components have together."""
    rows: int
    """Vectors it was fitted on."""
    table_rows: int
    """Rows of the table that were read for those vectors."""
    without_vector: int
    not_finite: int


def run(config: FitPcaConfig) -> PcaReport:
    """Fit the PCA and store it. Raises `UserError` for a table or column that no PCA can be fitted on as asked,
    `OSError` where storage fails."""
    table = config.stored
    dataset = table.latest()
    column = choose_base(
        config.column,
        base_columns(config.table, dataset.schema),
        where=f"table {config.table}",
        option="--column",
        derived=read_reductions(dataset.schema),
    )
    field = dataset.schema.field(column)
    vector_grid(field)
    with Progress() as progress, fragment_tasks(config.cluster, dataset.count_rows()) as execute:
        progress.phase(f"summing up {column} of {config.table}")
        fitted = fit_pca_of_table(
            table,
            dataset.version,
            column,
            config.dim,
            whiten=config.whiten,
            sample=config.sample,
            execute=execute,
            on_rows=lambda done, total: progress.counted(
                f"{done:,} of about {total:,} rows summed up", done / max(total, 1)
            ),
        )
    ref = write_artifact(_artifact(fitted, field, config), table.artifacts, table.storage)
    pca = fitted.pca
    return PcaReport(
        table=config.table,
        version=fitted.version,
        column=column,
        space_digest=field.metadata[DIGEST_KEY].decode(),
        uri=ref.uri,
        sha256=ref.sha256,
        dim=len(pca.components),
        input_dim=pca.components.shape[1],
        whiten=config.whiten,
        explained=float(pca.explained_variance_ratio.sum()),
        rows=fitted.rows,
        table_rows=fitted.table_rows,
        without_vector=fitted.without_vector,
        not_finite=fitted.not_finite,
    )


def _artifact(fitted: PcaOfTable, field: pa.Field, config: FitPcaConfig) -> Artifact:
    """The same vectors and settings give the same file; so neither the table's name nor its version is in it."""
    settings = {
        "whiten": config.whiten,
        "column": field.name,
        "space_digest": field.metadata[DIGEST_KEY].decode(),
        "sample": config.sample,
        "without_vector": fitted.without_vector,
        "not_finite": fitted.not_finite,
    }
    space = read_space(field, config.table)[0]
    return Artifact(kind=KIND, tensors=fitted.pca.tensors(), space=space, rows=fitted.rows, settings=settings)


def as_text(report: PcaReport) -> str:
    left_out = [f"{report.without_vector:,} without a vector"] * bool(report.without_vector)
    left_out += [f"{report.not_finite:,} with a number that is not finite"] * bool(report.not_finite)
    lines = [
        f"pca        {report.input_dim} -> {report.dim}{', whitened' if report.whiten else ''}, "
        f"{report.explained:.2%} of the variance",
        f"fitted on  {report.rows:,} vectors of {report.column}, version {report.version} of {report.table}",
        *([f"left out   {', '.join(left_out)}"] if left_out else []),
        f"artifact   {report.uri}",
        f"sha256     {report.sha256}",
        f"use it     pixlake reduce {report.table} {report.column}_{report.dim} --pca {json.dumps(report.uri)[1:-1]}",
    ]
    return "\n".join(lines)
