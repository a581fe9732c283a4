"""Everything that an audit looks at, one after the other; nothing is written."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.auditing.recompute import recompute
from jobs.auditing.recorded import AuditJobConfig, for_ready_vectors, recorded_job
from jobs.auditing.report import AuditedManifest, AuditedSample, AuditReport
from jobs.embedding.derived_columns import derived_there
from jobs.session.progress import Progress
from operators.base.counted import counted
from operators.base.errors import UserError, row_line
from operators.models.families import APIS
from operators.storage.redact import reason_of
from pipelines.audit.columns import audit_columns
from pipelines.audit.faults import Fault, FaultKind, first, places
from pipelines.audit.files import FilesAudit, audit_files
from pipelines.audit.missing import Missing, audit_takedowns, find_missing
from pipelines.audit.positions import TablePositions, faults_of, in_both, read_table
from pipelines.audit.sample import SampleAudit, audit_derived, audit_labels, draw, reducers
from pipelines.audit.scan import BrokenFragments
from pipelines.audit.vectors import AuditedColumn, ColumnFaults, audit_vectors
from pipelines.ledger.entries import ManifestEntry, is_refreshed, read_entries
from pipelines.ledger.takedowns import Takedowns
from pipelines.reread.manifests import OpenedManifest, open_registered
from pipelines.scan.live import live_rows
from pipelines.scan.plain import plain_count
from pipelines.space.choose import columns_there
from pipelines.space.field import read_reduction, read_reductions, read_space
from pipelines.space.labelling import locate_labelling, read_labellings
from pipelines.swap.state import before_name, next_name, read_swap
from pipelines.table.errors import TableError
from pipelines.versions.tags import list_tags

CANNOT = (UserError, OSError, TableError)
"""What a part of an audit may raise that cannot be done; the other parts are done all the same."""


class LookConfig(AuditJobConfig):
    """What is looked at."""

    manifest: str | None = None
    """Where a manifest lies now that was moved since."""
    sample: int = 100
    """Rows that are recomputed from their source."""
    vectors: bool = True
    """Whether all vectors are read."""


@dataclass
class Looked:
    """What was found, in the form that a repair needs it."""

    config: LookConfig
    vectors: Any
    """The vector table (a Lance dataset) that was looked at."""
    failures: Any
    entries: list[ManifestEntry]
    opened: list[OpenedManifest] = field(default_factory=list)
    in_vectors: TablePositions | None = None
    in_failures: TablePositions | None = None
    both: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    missing: dict[str, Missing] = field(default_factory=dict)
    """Digest of a manifest -> its rows in neither table."""
    columns: list[ColumnFaults] = field(default_factory=list)
    files: dict[str, FilesAudit] = field(default_factory=dict)
    sample: SampleAudit | None = None
    faults: list[Fault] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refreshed(self, entry: ManifestEntry) -> bool:
        return is_refreshed(self.entries, entry.source)

    def bad_keys(self) -> np.ndarray:
        """Sorted keys of the rows whose vectors are not what they should be, and that have none."""
        kinds: tuple[FaultKind, ...] = ("bad_vector", "no_vector", "off_norm")
        found = [each.of(kind) for each in self.columns for kind in kinds]
        wrong = list(self.sample.wrong.values()) if self.sample is not None else []
        return np.unique(np.concatenate([np.zeros(0, np.int64), *found, *(np.array(each, np.int64) for each in wrong)]))


def look(config: LookConfig, progress: Progress) -> Looked:
    """Raises `UserError` where there is no table of Pixlake's, `OSError` where its storage fails."""
    table = config.stored
    vectors, failures = table.latest(), table.latest_failures()
    columns = columns_there(config.table, vectors.schema)
    found = Looked(config, vectors, failures, read_entries(vectors.metadata, failures.metadata))
    broken = {"vectors": BrokenFragments(), "failures": BrokenFragments()}
    progress.phase("files")
    for where, dataset, uri in (("vectors", vectors, table.uri), ("failures", failures, table.names.failures)):
        found.files[where] = audit_files(where, dataset, uri, table.storage)
        found.faults += found.files[where].faults
    found.faults += audit_columns(vectors.schema, columns, config.table)
    found.notes += _tags_not_read(config)
    progress.phase("opening the manifests")
    found.opened = [_opened(found, entry) for entry in found.entries]
    progress.phase("positions of both tables")
    _positions(found, broken)
    progress.phase("rows in neither table")
    takedowns = Takedowns.read(table)
    _missing(found, takedowns)
    found.faults += audit_takedowns(takedowns, {"vectors": vectors, "failures": failures})
    if config.vectors:
        _vectors(found, columns, broken["vectors"], progress)
    else:
        found.notes.append("vectors were not read (--no-vectors): their numbers and lengths are not checked")
    if config.sample:
        progress.phase(f"{config.sample:,} rows again from their source")
        _sample(found, columns, broken["vectors"])
    for where, each in broken.items():
        if each.reasons:
            found.faults.append(_unreadable(where, each))
    return found


def _tags_not_read(config: LookConfig) -> Iterator[str]:
    tags = [tag.name for tag in list_tags(config.stored)]
    if tags:
        shown = f"{', '.join(tags[:3])} and {len(tags) - 3:,} more" if len(tags) > 3 else ", ".join(tags)
        yield f"tagged versions ({shown}) were not read: what is said is of the latest one alone"


def _opened(found: Looked, entry: ManifestEntry) -> OpenedManifest:
    config = found.config
    if entry.delta:
        # Its rows are known by their ids, and the comparison of source and table tells of them.
        return OpenedManifest(entry=entry)
    try:
        job = recorded_job(config, found.vectors.schema, found.entries, entry)
        work = f"{config.stored.names.runs}/manifests"
        moved = () if config.manifest is None else (config.manifest,)
        opened = open_registered(entry, None if job is None else job.source, work, config.storage, moved)
    except CANNOT as error:
        opened = OpenedManifest(entry=entry, why_not=reason_of(error))
    if opened.why_not is not None and not found.refreshed(entry):
        found.problems.append(
            f"{entry.source}: the manifest was not opened, so its missing rows are not known: {opened.why_not}. "
            "--manifest says where it lies now"
        )
    return opened


def _positions(found: Looked, broken: dict[str, BrokenFragments]) -> None:
    bounds = dict(bound for opened in found.opened for bound in opened.bounds())
    found.in_vectors = read_table(found.vectors, bounds, broken["vectors"])
    found.in_failures = read_table(found.failures, bounds, broken["failures"])
    found.faults += [*faults_of("vectors", found.in_vectors), *faults_of("failures", found.in_failures)]
    found.both = in_both(found.in_vectors, found.in_failures)
    if len(found.both):
        found.faults.append(
            Fault(
                kind="in_both",
                where="failures",
                count=len(found.both),
                what=f"{len(found.both):,} rows of manifests have a vector and a failure",
                examples=places(found.both),
            )
        )


def _missing(found: Looked, takedowns: Takedowns) -> None:
    refreshed = {entry.source for entry in found.entries if found.refreshed(entry)}
    for source in sorted(refreshed):
        found.notes.append(
            f"{source}: is followed by refreshes, so its images are known by id, and missing ones were not looked for; "
            f"`pixlake refresh {found.config.table} --dry-run` compares source and table"
        )
    for opened in found.opened:
        entry = opened.entry
        if opened.manifest is None or entry.source in refreshed:
            continue
        assert found.in_vectors is not None
        assert found.in_failures is not None
        try:
            missing = find_missing(
                opened,
                found.in_vectors,
                found.in_failures,
                table=found.config.stored,
                takedowns=takedowns,
                storage=found.config.storage,
            )
        except CANNOT as error:
            found.problems.append(f"{entry.source}: its missing rows cannot be looked up: {reason_of(error)}")
            continue
        found.missing[entry.digest] = missing
        found.faults += _missing_faults(entry, missing)
        if entry.status in ("running", "abandoned") and len(missing.never):
            found.notes.append(
                f"{entry.source}: run {entry.run_id} is {entry.status}; {len(missing.never):,} rows left"
            )


def _missing_faults(entry: ManifestEntry, missing: Missing) -> Iterator[Fault]:
    if len(missing.never) and entry.status in ("complete", "undone"):
        yield Fault(
            kind="missing",
            where=entry.source,
            count=len(missing.never),
            what=f"{counted(len(missing.never), 'row is', 'rows are')} in neither table, and nothing says why",
            examples=places(missing.never),
        )
    if len(missing.deleted):
        yield Fault(
            kind="deleted",
            where=entry.source,
            count=len(missing.deleted),
            what=f"{counted(len(missing.deleted), 'row was', 'rows were')} in the tables, and in neither now: another "
            "tool has deleted what was there",
            examples=places(missing.deleted),
        )


def _vectors(found: Looked, columns: list[str], broken: BrokenFragments, progress: Progress) -> None:
    schema, total = found.vectors.schema, found.vectors.count_rows()
    asked = [_asked(found, schema.field(name)) for name in columns]
    found.columns = audit_vectors(
        found.vectors,
        asked,
        broken,
        lambda rows: progress.counted(f"vectors: {rows:,} of {total:,} rows read", rows / max(total, 1)),
    )
    for each in found.columns:
        found.faults += each.faults()
        if each.lacking:
            found.notes.append(f"{each.column}: {each.lacking:,} of {each.rows:,} rows have nothing in it, as may be")


def _asked(found: Looked, column: pa.Field) -> AuditedColumn:
    record, _ = read_space(column, found.config.table)
    reduction, swap = read_reduction(column), read_swap(found.vectors.metadata)
    in_swap = set() if swap is None else {swap.column, next_name(swap.column), before_name(swap.column)}
    unit = bool(record.get("normalize", {}).get("l2", False))
    if reduction is not None:
        unit = reduction.renormalize if reduction.changes_length else unit
    return AuditedColumn(name=column.name, unit=unit, may_lack=reduction is not None or column.name in in_swap)


def _sample(found: Looked, columns: list[str], broken: BrokenFragments) -> None:
    schema, audit = found.vectors.schema, SampleAudit()
    boxes = [name for job in _jobs(found) for name in (job.regions.manifest_columns if job.regions else ())]
    beside = [name for name in ("region", "regions") if name in schema.names]
    labellings = read_labellings(schema)
    stored = draw(found.vectors, found.config.sample, [*columns, *labellings, *beside, *boxes], broken)
    audit.drawn = stored.num_rows
    reductions = read_reductions(schema)
    there = {name: each for name, each in reductions.items() if each.base in schema.names}
    try:
        located = derived_there(found.config.table, schema, found.config.storage_of_table)
        made = {name: located[name] for name in there}
        found.faults += audit_derived(stored, made, reducers(made, found.config.storage_of_table))
        folder, storage = found.config.stored.artifacts, found.config.storage_of_table
        based = {name: each for name, each in labellings.items() if each.base in columns}
        labels = {name: locate_labelling(each, folder, storage) for name, each in based.items()}
        found.faults += audit_labels(stored, labels, storage)
    except CANNOT as error:
        found.problems.append(f"derived columns were not compared with what they are made of: {reason_of(error)}")
    for name in reductions.keys() - there.keys():
        found.notes.append(f"{name}: what it is derived of is not stored, so it was not compared with it")
    asked = [name for name in columns if name not in reductions and not _is_billed(found, name)]
    billed = [name for name in columns if name not in reductions and name not in asked]
    if billed:
        found.notes.append(f"{', '.join(billed)}: made by a provider that bills requests, so no vector was recomputed")
    if asked:
        _recompute(found, audit, stored, asked)
    found.sample = audit
    found.faults += audit.faults()


def _is_billed(found: Looked, column: str) -> bool:
    return read_space(found.vectors.schema.field(column), found.config.table)[1].spec.family in APIS


def _jobs(found: Looked) -> Iterator[Any]:
    for entry in found.entries:
        try:
            job = recorded_job(found.config, found.vectors.schema, found.entries, entry)
        except CANNOT:
            continue
        if job is not None:
            yield job


def _recompute(found: Looked, audit: SampleAudit, stored: pa.Table, columns: list[str]) -> None:
    shards, rows = (stored[name].to_numpy().astype(np.int64) for name in ("shard", "row"))
    for opened in found.opened:
        mine = stored.filter(pa.array(opened.owns((shards << 32) | rows)))
        if not mine.num_rows:
            continue
        entry = opened.entry
        # A row that a refresh has written again may be another image than the manifest had there.
        read = OpenedManifest(entry=entry) if found.refreshed(entry) else opened
        try:
            job = recorded_job(found.config, found.vectors.schema, found.entries, entry)
            if job is None:
                raise OSError("no configuration of its runs is left, so it is not known how its images were embedded")
            recompute(audit, mine, for_ready_vectors(job) if opened.ready_vectors else job, read, columns)
        except CANNOT as error:
            found.problems.append(f"{entry.source}: {mine.num_rows:,} rows were not recomputed: {reason_of(error)}")
    if audit.no_sha256:
        found.notes.append(
            f"{audit.no_sha256:,} vectors differ from what their source gives now, and the table does not say of what "
            "bytes they were made"
        )
    if audit.changed:
        examples = ", ".join(row_line(each) for each in audit.changed_examples[:1])
        found.notes.append(
            f"{audit.changed:,} rows have other bytes at their source now, such as {examples}: their vectors are of "
            "what was there before"
        )


def _unreadable(where: str, broken: BrokenFragments) -> Fault:
    reasons = broken.reasons
    return Fault(
        kind="unreadable",
        where=where,
        count=len(reasons),
        what=f"{len(reasons):,} fragments cannot be read; their rows were passed over and count as not there",
        examples=first(f"fragment {number}: {why}" for number, why in reasons.items()),
    )


def report_of(found: Looked) -> AuditReport:
    vectors, swap = found.vectors, read_swap(found.vectors.metadata)
    live, sample = live_rows(vectors.schema), found.sample
    return AuditReport(
        table=found.config.table,
        version=vectors.version,
        failures_version=found.failures.version,
        rows=vectors.count_rows(),
        images=found.in_vectors.seen.count if found.in_vectors is not None else 0,
        failures=found.failures.count_rows(),
        marked_deleted=0 if live is None else plain_count(vectors, f"NOT ({live})"),
        swap=None if swap is None or swap.over else swap.state,
        refreshes=sum(entry.delta for entry in found.entries),
        manifests=[_audited(found, opened) for opened in found.opened if not opened.entry.delta],
        unlisted_files=sum(each.unlisted for each in found.files.values()),
        unlisted_bytes=sum(each.unlisted_bytes for each in found.files.values()),
        sample=None
        if sample is None
        else AuditedSample(
            drawn=sample.drawn,
            compared=sample.compared,
            least_cosine=sample.least_cosine,
            changed=sample.changed,
            unreachable=dict(sample.unreachable),
        ),
        faults=found.faults,
        problems=found.problems,
        notes=found.notes,
    )


def _audited(found: Looked, opened: OpenedManifest) -> AuditedManifest:
    entry, missing = opened.entry, found.missing.get(opened.entry.digest)
    return AuditedManifest(
        source=entry.source,
        status=entry.status,
        rows=entry.rows,
        covered=entry.covered,
        opened=opened.manifest is not None,
        refreshed=found.refreshed(entry),
        taken_down=missing.taken_down if missing else 0,
        skipped=missing.skipped if missing else 0,
        deleted=len(missing.deleted) if missing else 0,
        missing=len(missing.never) if missing else 0,
    )
