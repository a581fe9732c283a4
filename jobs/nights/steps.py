"""The steps of a night: each calls one job with the night's settings, and boils its report down to an outcome."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jobs import drift, embed, refresh, upkeep
from jobs.nights.config import NightlyConfig
from jobs.nights.gates import live_gates
from jobs.nights.report import NightlyReport, StepName, nights_before
from jobs.nights.retry import StepOutcome
from jobs.session.progress import Progress
from operators.base.counted import counted
from operators.base.errors import UserError
from operators.storage.redact import reason_of, redact_uri
from operators.storage.uris import from_anywhere
from pipelines.ledger.entries import read_entries
from pipelines.manifests.manifest import SourceError, SourceMissingError
from pipelines.space.choose import base_columns, not_in_swap
from pipelines.space.field import read_space, vector_columns
from pipelines.table.errors import RefusedError
from pipelines.table.open import open_existing
from pipelines.table.table import Table
from pipelines.versions.tags import list_tags, tag_state

LEFT_OUT = "left out by the configuration"


@dataclass(frozen=True, kw_only=True)
class Night:
    """What a step is told."""

    config: NightlyConfig
    table: Table
    before: str | None
    """Tag of the latest night before this one; None in the first."""

    @property
    def tag(self) -> str:
        return self.config.night.isoformat()

    @property
    def of_table(self) -> dict[str, Any]:
        """The keys that every job on a table takes."""
        return {name: getattr(self.config, name) for name in ("table", "storage", "table_storage")}


def embed_source(night: Night, so_far: NightlyReport) -> StepOutcome:
    """In the first night: make the table, or finish what a first night that was killed has begun."""
    existing = open_existing(night.table)
    entries = read_entries(existing.metadata, existing.failures_metadata) if existing else []
    source = redact_uri(from_anywhere(night.config.source.uri))
    # A source that the table does not know is another place of one that it has, which the refresh must judge.
    ours = [entry for entry in entries if entry.source == source] or entries
    begun = [entry.run_id for entry in ours if entry.status == "running" and not entry.delta]
    if len(begun) < len(ours):
        return StepOutcome(status="not_needed", message="the table has the source")
    job, same_source = night.config.embed, True
    try:
        report = embed.run(job)
    except RefusedError:
        if not begun:
            raise
        # The source has changed since: what is not there is embedded, and the refresh sees to the rest.
        report = embed.run(job.model_copy(update={"abandon": begun[-1], "skip_existing": True}))
        same_source = False
    kept = {"run_id", "vectors", "failures", "failures_by_class", "images_per_s"}
    rows = {"new": report.embedded_now + report.failed_now, "failed_now": report.failed_now}
    result = {**report.model_dump(mode="json", include=kept), "rows": rows, "same_source": same_source}
    gave = f"{counted(report.vectors, 'vector')} and {counted(report.failures, 'failure')}"
    message = f"{gave} of {counted(report.rows, 'image')}"
    if report.status != "complete":
        may_pass = not report.many_bad_vectors
        return StepOutcome(status=report.status, message=report.message, result=result, may_pass=may_pass)
    if report.most_frequent_failure is not None:
        most = report.most_frequent_failure
        message += f": too many failures, most of them {most.error_class}: {most.remedy}"
        return StepOutcome(status="failed", message=message, result=result)
    return StepOutcome(status="done", message=message, result=result)


def follow_source(night: Night, so_far: NightlyReport) -> StepOutcome:
    """Bring the table to what its source is now. The state is named, and the table kept up, by later steps."""
    made = so_far.step("embed")
    if made is not None and not made.earlier and made.result.get("same_source"):
        return StepOutcome(status="not_needed", message="the table was made just now")
    config = night.config
    given = {**night.of_table, **config.of_refresh, **config.refresh.model_dump(), "upkeep": False}
    try:
        report = refresh.run(refresh.RefreshConfig.model_validate(given))
    except SourceError as error:
        # It was there when the table was made: a listing that breaks off may be whole at the next attempt. A folder or
        # a bucket that is gone is not back after a pause.
        may_pass = not isinstance(error, SourceMissingError)
        return StepOutcome(status="failed", message=reason_of(error), may_pass=may_pass)
    kept = {"run_id", "counts", "failures_by_class", "images_per_s", "rows_deleted", "failures_deleted", "notices"}
    rows = {**report.counts, "failed_now": report.failed}
    result = {**report.model_dump(mode="json", include=kept), "rows": rows}
    if not report.embedded + report.failed:
        result["images_per_s"] = None
    if report.status != "complete":
        return StepOutcome(status=report.status, message=report.message, result=result, may_pass=True)
    told = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in rows.items() if count)
    return StepOutcome(status="done", message=told or "the source is empty", result=result)


def keep_up(night: Night, so_far: NightlyReport) -> StepOutcome:
    """Compact small fragments, bring indexes up, remove old versions."""
    section = night.config.upkeep
    if section is None:
        return StepOutcome(status="not_needed", message=LEFT_OUT)
    given = {**night.of_table, "cluster": night.config.cluster, **section.model_dump(), "set_tag": False}
    report = upkeep.run(upkeep.UpkeepConfig.model_validate(given))
    done = [
        f"{counted(report.vectors.rows + report.failures.rows, 'row')} compacted",
        f"{counted(len(report.indexes), 'index', 'indexes')} brought up",
        f"{counted(report.pruned_versions, 'version')} removed",
    ]
    if report.problems:
        return StepOutcome(status="exceeded", message="; ".join(report.problems), result=report.model_dump(mode="json"))
    return StepOutcome(status="done", message=", ".join(done), result=report.model_dump(mode="json"))


def name_state(night: Night, so_far: NightlyReport) -> StepOutcome:
    """Tag the state by the night's date; a night that is taken up again moves its tag."""
    tag = tag_state(night.table, night.tag, move=True)
    versions = {"vectors": tag.vectors, "failures": tag.failures}
    return StepOutcome(status="done", message=f"version {tag.vectors} is {tag.name}", result=versions)


def pass_gates(night: Night, so_far: NightlyReport) -> StepOutcome:
    """Measure the live columns."""
    section = night.config.gates
    if section is None:
        return StepOutcome(status="not_needed", message=LEFT_OUT)
    kept_up = so_far.step("upkeep")
    indexes = kept_up.result.get("indexes", {}) if kept_up is not None and not kept_up.earlier else {}
    just_measured = {column for column, did in indexes.items() if did == "updated"}
    with Progress() as progress:
        gates = live_gates(section, night.table, night.config.storage, just_measured, progress)
    result = {"gates": [gate.model_dump(mode="json") for gate in gates]}
    failed = [gate for gate in gates if gate.passed is False]
    if failed:
        said = "; ".join(f"{gate.name} {gate.new} of {gate.threshold}: {gate.how}" for gate in failed)
        return StepOutcome(status="exceeded", message=said, result=result)
    measured = [f"{gate.name} {gate.new:.4f}" for gate in gates if gate.passed]
    return StepOutcome(status="done", message=", ".join(measured) or "nothing to measure", result=result)


def find_drift(night: Night, so_far: NightlyReport) -> StepOutcome:
    """Compare each live column with what it was the night before."""
    section = night.config.drift
    if section is None:
        return StepOutcome(status="not_needed", message=LEFT_OUT)
    if night.before is None:
        return StepOutcome(status="not_needed", message="no earlier night has a tag to compare with")
    shared = {**night.of_table, **section.model_dump(), "from_state": night.before, "to_state": night.tag}
    schema = night.table.latest().schema
    reports = [
        drift.run(drift.DriftConfig.model_validate({**shared, "columns": (name,)}))
        for name in not_in_swap(base_columns(str(night.table), schema))
    ]
    exceeded = [line for report in reports for line in report.exceeded]
    came = ", ".join(f"{report.after.column}: {counted(report.came or 0, 'row')} came" for report in reports)
    return StepOutcome(
        status="exceeded" if exceeded else "done",
        message="; ".join(exceeded) or f"as on {night.before}; {came}",
        result={report.after.column: report.model_dump(mode="json") for report in reports},
    )


def live_models(table: Table) -> dict[str, str]:
    """Vector column -> its model's name, without the other column of a swap; empty where there is no table, or it
    cannot be read."""
    try:
        existing = open_existing(table)
        schema = existing.schema if existing else pa.schema([])
        live = not_in_swap(vector_columns(schema))
        return {name: read_space(schema.field(name), str(table))[1].spec.name for name in live}
    except (UserError, OSError):
        return {}


def versions_of(table: Table) -> tuple[int, int] | None:
    """The latest versions of both tables; None where there is no table. Raises `OSError`."""
    if open_existing(table) is None:
        return None
    return table.latest().version, table.latest_failures().version


def latest_tag(table: Table, night: str) -> str | None:
    """The tag of the latest night before this one that has one still."""
    if open_existing(table) is None:
        return None
    there = {tag.name for tag in list_tags(table) if tag.vectors is not None}
    return next((each for each in nights_before(table, night) if each in there), None)


STEPS: Mapping[StepName, Callable[[Night, NightlyReport], StepOutcome]] = {
    "embed": embed_source,
    "refresh": follow_source,
    "upkeep": keep_up,
    "tag": name_state,
    "gates": pass_gates,
    "drift": find_drift,
}
"""In the order in which they are taken."""
