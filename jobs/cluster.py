"""`pixlake cluster`: the vectors of a table in groups of like ones, a column for all rows that are there and come."""

import time
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field, field_validator

from jobs.config.model_names import check_column_name
from jobs.config.read import ClusterReadConfig
from jobs.labelling.cluster_report import ClusterReport, clusters_of, rows_of
from jobs.labelling.fill import choose_single, fill, labelling_there, named_beside, refuse_other
from jobs.reports.run_report import store_run_file
from jobs.session.progress import Progress
from operators.assign import CENTRES
from operators.base.counted import counted
from operators.base.errors import UserError
from operators.storage.artifacts import Artifact, read_artifact, write_artifact
from operators.vectors.spherical_kmeans import ITERATIONS
from pipelines.clusters.fit import FEWEST_A_CLUSTER, TriedK, choose_k, fit_on_sample, sample_units
from pipelines.clusters.survey import survey_clusters
from pipelines.space.field import digest_of, read_space
from pipelines.space.labelling import Labelling, locate_labelling

KIND = "kmeans"
SAMPLE = 65_536
RUN_FILE = "clusters.json"


class ClusteringConfig(ClusterReadConfig):
    """Which vectors are clustered, into how many, and what the columns are called."""

    column: str | None = None
    """A column that a model fills; default: the only one."""
    k: int | Literal["auto"] = "auto"
    """Number of clusters; `auto` takes the one with the largest silhouette."""
    name: str = "cluster"
    """The column of the clusters' numbers; `NAME_cosine` is that of the cosines to their centres."""
    sample: int | None = Field(default=None, ge=2)
    """Rows that the centres are fitted on; default: 65,536, or 40 a cluster where that is more."""
    seed: int = Field(default=0, ge=0)
    representatives: int = Field(default=5, ge=0)
    """Rows listed of each cluster, nearest its centre."""
    outliers: int = Field(default=20, ge=0)
    """Rows listed of the whole table, farthest from their centre."""

    @field_validator("k", mode="before")
    @classmethod
    def _is_a_number_of_clusters(cls, k: Any) -> Any:
        text = str(k).strip()
        if text == "auto" or (text.isdecimal() and int(text) >= 1):
            return text if text == "auto" else int(text)
        raise ValueError(f"{text!r}: a number of clusters from 1 on, or auto")

    @field_validator("name")
    @classmethod
    def _is_a_column_name(cls, name: str) -> str:
        return check_column_name(name)

    @property
    def names(self) -> dict[str, str]:
        """What the two columns hold -> their names."""
        return {"cluster": self.name, "cosine": named_beside(self.name, "cosine")}

    @property
    def sample_rows(self) -> int:
        return self.sample or max(SAMPLE, 0 if self.k == "auto" else FEWEST_A_CLUSTER * self.k)

    @property
    def asked(self) -> dict[str, Any]:
        """What decides the centres, beside the vectors."""
        return {"k": self.k, "sample": self.sample_rows, "seed": self.seed}


def run(config: ClusteringConfig) -> ClusterReport:
    """Fit the centres, unless the columns are there, and fill the columns. Raises `UserError` for what cannot be
    clustered as asked, `TableError` and `OSError` where storage fails."""
    began, table = time.monotonic(), config.stored
    dataset = table.latest()
    base = choose_single(config.table, dataset.schema, config.column)
    with Progress() as progress:
        labelling = labelling_there(table, dataset.schema, config.names, base)
        if labelling is None:
            labelling = _fitted(config, dataset, base, progress)
        labelling = labelling.model_copy(update={"part": "cluster"})
        artifact = _artifact_of(config, labelling)
        progress.phase(f"assigning the rows of {config.table} to {counted(labelling.groups, 'cluster')}")
        done = fill(table, config.names, labelling, config.cluster, progress)
        progress.phase("counting the clusters")
        survey = survey_clusters(
            table.at(done.version),
            config.names["cluster"],
            config.names["cosine"],
            labelling.groups,
            representatives=config.representatives,
            outliers=config.outliers,
        )
    made_at = datetime.now(UTC)
    run_id = f"cluster-{made_at:%Y%m%dT%H%M%S%fZ}"
    report = ClusterReport(
        table=config.table,
        version=done.version,
        made_at=made_at.isoformat(timespec="seconds"),
        column=base.name,
        space_digest=labelling.space_digest,
        name=config.names["cluster"],
        cosine_name=config.names["cosine"],
        k=labelling.groups,
        tried=artifact.settings["tried"],
        asked=artifact.settings["asked"],
        artifact=labelling.artifact.uri,
        sha256=labelling.artifact.sha256,
        fitted_on=artifact.rows,
        fitted_cosine=artifact.settings["mean_cosine"],
        filled_now=done.rows,
        without_vector=done.without_source,
        not_finite=done.not_finite,
        no_direction=done.impossible,
        rows=int(survey.sizes.sum()),
        unassigned=survey.unassigned,
        changed=survey.changed,
        clusters=clusters_of(survey),
        outliers=rows_of(survey.farthest),
        seconds=round(time.monotonic() - began, 3),
        json_file=f"{table.names.runs}/{run_id}/{RUN_FILE}",
    )
    store_run_file(report, run_id, RUN_FILE, table.names, table.storage)
    return report


def _artifact_of(config: ClusteringConfig, labelling: Labelling) -> Artifact:
    """The centres. Raises `RefusedError` where they were made with other settings than asked for."""
    table = config.stored
    found = locate_labelling(labelling, table.artifacts, table.storage).artifact
    if labelling.method != "cluster":
        raise refuse_other(table, config.name, labelling, "clusters", [*config.names.values()])
    artifact = read_artifact(found, table.storage)
    if artifact.settings["asked"] != config.asked:
        said = ", ".join(f"{name} {value}" for name, value in artifact.settings["asked"].items())
        asked = ", ".join(f"{name} {value}" for name, value in config.asked.items())
        raise refuse_other(table, config.name, labelling, f"{asked}; there: {said}", [*config.names.values()])
    return artifact


def _fitted(config: ClusteringConfig, dataset: Any, base: pa.Field, progress: Progress) -> Labelling:
    """New centres, stored beside the table."""
    progress.phase(f"drawing {min(config.sample_rows, dataset.count_rows()):,} rows")
    units = sample_units(dataset, base.name, config.sample_rows, seed=config.seed)
    if not len(units):
        raise UserError(
            f"table {config.table}: no row that was drawn has a vector in {base.name}; `pixlake embed` fills it"
        )
    tried: list[TriedK] = []
    k = config.k
    if k == "auto":
        k, tried = choose_k(units, seed=config.seed, on_tried=lambda each: progress.phase(f"trying {each} clusters"))
    progress.phase(f"fitting {counted(k, 'cluster')} on {len(units):,} vectors")
    fitted = fit_on_sample(units, k, seed=config.seed)
    settings = {
        "asked": config.asked,
        "column": base.name,
        "space_digest": digest_of(base),
        "k": k,
        "tried": [{"k": each.k, "silhouette": round(each.silhouette, 6)} for each in tried],
        "iterations": ITERATIONS,
        "mean_cosine": fitted.mean_cosine,
    }
    artifact = Artifact(
        kind=KIND,
        tensors={CENTRES: fitted.centres},
        space=read_space(base, config.table)[0],
        rows=len(units),
        settings=settings,
    )
    ref = write_artifact(artifact, config.stored.artifacts, config.storage_of_table)
    return Labelling(
        method="cluster", part="cluster", base=base.name, space_digest=digest_of(base), groups=k, artifact=ref
    )
