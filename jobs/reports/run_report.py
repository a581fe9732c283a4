"""What a run leaves behind: one JSON report beside the table, and the summary a person reads."""

import json
from typing import Any, Literal

import obstore
from obstore.exceptions import BaseError
from pydantic import BaseModel

from jobs.reports.frequent_failure import FrequentFailure
from operators.base.counted import counted
from operators.storage.redact import reason_of
from operators.storage.stores import StorageOptions, object_store
from pipelines.table.names import TableNames

TOLD_S = 1.0
"""Loading that takes longer is told at the end of a run."""

Status = Literal["complete", "interrupted", "failed"]


class StageReport(BaseModel):
    """One actor pool over the run."""

    actors: int
    images_per_s: float
    """What the pool could do, were it never idle: rows over the seconds spent on them, times the blocks at once."""
    busy_share: float
    """Seconds spent in operators over seconds that the actors were there, times their blocks at once, 0 to 1."""
    seconds: dict[str, float]
    """Per operator, of several models together, summed over actors."""
    load_seconds: float
    """Seconds an actor took to build its operators, mostly to load the weights: the mean over the images, so that an
    actor counts by what it did. 0 for the writers."""


class Report(BaseModel):
    """The outcome of one `pixlake embed`."""

    status: Status
    run_id: str
    table: str
    source: str
    manifest_digest: str
    rows: int
    """Rows of the manifest that this run was to cover."""
    vectors: int
    """Rows of this manifest in the vector table, now."""
    failures: int
    """Rows of this manifest in the failures table, now."""
    skipped: int
    """Rows left out by `--skip-existing`."""
    deleted: int
    """Rows of this manifest that were in a table once, or were taken down, and are in neither."""
    embedded_now: int
    failed_now: int
    reused: int = 0
    """Rows that this run gave the vectors of another image with the same bytes, neither decoded nor embedded for
    themselves."""
    failures_by_class: dict[str, int]
    """Failures that this run met, by class. A task that Ray ran twice counts twice here, and once in `failed_now`."""
    seconds: float
    """Seconds from the first block handed to a worker that is ready to the last commit; start-up is not in it."""
    startup_seconds: float
    images_per_s: float
    bound_by: str | None
    stages: dict[str, StageReport]
    """Stage name -> its report; the writers are `write`."""
    image_bytes: int
    written_bytes: int
    requests_per_image: float | None
    commits: int
    versions: dict[str, int]
    space_digests: dict[str, str]
    """Vector column -> digest of its space."""
    config: dict[str, Any]
    """The resolved configuration, secrets masked."""
    api_requests: int | None = None
    """Requests granted to an API model, retries included; None where the model is not asked over the network."""
    api_spend_usd: float | None = None
    """US dollars they cost, at `api.usd_per_1000_images`; a request cut off before an answer counts as paid."""
    most_frequent_failure: FrequentFailure | None = None
    """Why most rows of this manifest failed, where more of them did than `max_failed` allows."""
    refreshed: bool = False
    """Whether refreshes keep the table to the source: they take its failures again."""
    many_bad_vectors: bool = False
    """Whether the run was stopped since more of its vectors were NaN, infinite or zero than `max_bad_vectors`
    allows."""
    message: str = ""
    notices: list[str] = []
    """What the tables hold that no manifest accounts for, and what a cluster lost in mid-run, a sentence each."""

    @property
    def nothing_to_do(self) -> bool:
        return self.status == "complete" and not (self.embedded_now or self.failed_now)

    @property
    def too_many_failed(self) -> bool:
        return self.many_bad_vectors or (self.status == "complete" and self.most_frequent_failure is not None)


def store_run_file(value: BaseModel, run_id: str, name: str, names: TableNames, storage: StorageOptions) -> None:
    """Write a model as JSON, secrets masked, to `NAME__runs/RUN_ID/name` beside the table. Raises `OSError`."""
    text = json.dumps(value.model_dump(mode="json"), indent=2)
    store_bytes(text.encode(), f"{names.runs}/{run_id}/{name}", storage)


def store_bytes(data: bytes, uri: str, storage: StorageOptions) -> None:
    """Write one file, whole. Raises `OSError`."""
    store, path = object_store(uri, storage)
    try:
        obstore.put(store, path, data)
    except BaseError as error:
        raise OSError(f"{uri}: cannot write there: {reason_of(error)}") from None


def summary(report: Report) -> str:
    """A few lines for the end of a run."""
    lines = [_headline(report)]
    if report.embedded_now or report.failed_now:
        lines.append(
            f"  this run: {counted(report.embedded_now, 'vector')} and {counted(report.failed_now, 'failure')} in "
            f"{report.seconds:,.1f} s after {report.startup_seconds:,.1f} s of start-up, "
            f"{report.images_per_s:,.1f} images/s" + (f", bound by {report.bound_by}" if report.bound_by else "")
        )
    loaded = [
        f"{name} {stage.load_seconds:,.1f} s" for name, stage in report.stages.items() if stage.load_seconds > TOLD_S
    ]
    if loaded:
        lines.append(f"  loading, of the start-up: {', '.join(loaded)} in each actor")
    if report.reused:
        given = counted(report.reused, "image was", "images were")
        lines.append(f"  same bytes: {given} given the vectors of an earlier one (reuse)")
    if report.failures_by_class:
        classes = ", ".join(f"{name} {count:,}" for name, count in sorted(report.failures_by_class.items()))
        lines.append(f"  failures: {classes} (pixlake failures {report.table})")
    if report.nothing_to_do and report.failures:
        again = "and how `pixlake refresh`" if report.refreshed else "--retry-failed"
        lines.append(f"  failures: pixlake failures {report.table} says why, {again} takes them again")
    if report.status != "complete":
        lines.append(f"  {report.message}")
    lines += [f"  notice: {notice}" for notice in report.notices]
    if report.most_frequent_failure is not None and not report.many_bad_vectors:
        lines += _about_most(report, report.most_frequent_failure)
    return "\n".join(lines)


def _about_most(report: Report, most: FrequentFailure) -> list[str]:
    tried, allowed = report.failures + report.vectors, report.config["max_failed"]
    return [
        f"  too many failures: {report.failures:,} of {counted(tried, 'row')}, and --max-failed allows {allowed:g} of "
        "them",
        f"  most often: {most.error_class}, {counted(most.rows, 'row')}, such as: {most.error}",
        f"  remedy: {most.remedy}",
    ]


def _headline(report: Report) -> str:
    held = f"{counted(report.vectors, 'vector')} and {counted(report.failures, 'failure')}"
    out = f", {report.skipped:,} skipped" if report.skipped else ""
    out += f", {report.deleted:,} deleted" if report.deleted else ""
    if report.nothing_to_do:
        return f"{report.table}: nothing to do, complete with {held}{out}"
    return f"{report.table}: {report.status}, {held}{out} of {counted(report.rows, 'row')}"
