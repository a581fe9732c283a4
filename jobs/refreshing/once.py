"""One attempt at a refresh: source and table compared, what is new fetched and embedded, the rest applied."""

import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from jobs.embedding.deleted_rows import finish_takedowns
from jobs.embedding.plan import check_cluster
from jobs.embedding.prepare import prepare
from jobs.embedding.progress import RunProgress
from jobs.embedding.run import RESUME, cut_short
from jobs.refreshing.apply import Applied
from jobs.refreshing.config import RecordedJob, RefreshConfig, WhenGone, remember_run
from jobs.refreshing.delta_run import RefreshRun, abandon_unfinished, check_still_so, delta_folder
from jobs.refreshing.report import RefreshReport
from jobs.reports.run_report import Report, Status, store_run_file
from jobs.session.interrupts import Interrupts
from jobs.session.ray_cluster import fragment_tasks
from operators.api.options import ApiError
from operators.base.counted import counted
from operators.base.failpoints import failpoint
from pipelines.commits.committer import Committer
from pipelines.manifests.manifest import SourceError
from pipelines.refresh.carries import Takeable
from pipelines.refresh.changes.changes import NOTHING_TO_DO, Changes, ImageState
from pipelines.refresh.changes.find import DiffOptions, find_changes
from pipelines.refresh.delta import drop_delta, positions_of, write_delta
from pipelines.run.execute import STOPPED
from pipelines.swap.record import note_filled
from pipelines.swap.state import Swap, read_swap
from pipelines.table.errors import CorruptTableError, FencedError, RefusedError, TableError
from pipelines.table.table import Table

_STAY: dict[WhenGone, frozenset[ImageState]] = {
    "keep": frozenset({"deleted", "gone"}),
    "mark": frozenset({"gone"}),
    "drop": frozenset(),
}
"""States of images that are not in the source and stay in the table as they are."""


@dataclass
class _Progressed:
    """What has been done so far, for the report."""

    changes: Changes
    to_fetch: int
    run: RefreshRun | None = None
    run_report: Report | None = None
    committer: Committer | None = None
    applied: Applied | None = None
    takeable: Takeable | None = None


class RefreshOnce:
    """One attempt, under a run id of its own."""

    def __init__(
        self, config: RefreshConfig, recorded: RecordedJob, interrupts: Interrupts, progress: RunProgress
    ) -> None:
        self._config, self._recorded, self._job = config, recorded, recorded.config
        self._interrupts, self._progress = interrupts, progress
        self._names, self._storage = config.stored.names, config.stored.storage
        self._run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        # Where the manifest says which regions an image has, that may be another while the bytes are the same.
        self._whatever_bytes = bool(self._job.regions is not None and self._job.regions.manifest_columns)
        fetched: tuple[ImageState, ...] = ("new", "changed", "retried", "asked")
        carried: tuple[ImageState, ...] = ("moved", "touched", "returned")
        self._fetched = (*fetched, *carried) if self._whatever_bytes else fetched
        self._carried = () if self._whatever_bytes else carried

    def go(self) -> RefreshReport:
        """Raises `OutdatedError` where the table was changed between the comparison and the claim, with nothing done;
        else what a user can mend."""
        self._progress.phase("comparing source and table")
        try:
            with find_changes(
                self._config.stored,
                self._job.source,
                self._job.storage,
                DiffOptions(
                    registered=self._recorded.registered,
                    max_deleted=self._config.max_deleted,
                    check_http=self._config.check_http,
                    retry=self._config.retried | self._recorded.mendable,
                    unfilled=(swap.column,) if (swap := _ended_unfilled(self._config.stored)) else (),
                ),
                roots=tuple(self._job.fetch.allowed_roots),
                phase=self._progress.phase,
            ) as changes:
                for notice in changes.notices:
                    self._progress.note(notice)
                failpoint("refresh.compared")
                work = _Progressed(changes, sum(changes.counts[state] for state in self._fetched))
                if self._config.dry_run or self._nothing(changes):
                    return self._report(work, "complete", began=False)
                return self._change(work)
        except SourceError as error:
            if self._recorded.from_record and self._job.source.uri.startswith(("http://", "https://")):
                raise SourceError(
                    f"{error}. The table's record has the source without its secrets, such as a signature: give it "
                    "once more with --source"
                ) from error
            raise

    def _nothing(self, changes: Changes) -> bool:
        stay = {*NOTHING_TO_DO, *_STAY[self._config.deleted]}
        return not changes.takedowns_unfinished and not any(
            count for state, count in changes.counts.items() if state not in stay
        )

    def _change(self, work: _Progressed) -> RefreshReport:
        if work.to_fetch:
            work.takeable = None if self._whatever_bytes else Takeable(work.changes)
            self._fetch(work)
            assert work.run is not None
            assert work.run_report is not None
            work.committer = work.run.committer
            if work.run_report.status != "complete":
                return self._report(work, work.run_report.status, work.run_report.message)
        try:
            with self._interrupts.deferred():
                finished = self._apply(work)
                if finished and (swap := _ended_unfilled(self._config.stored)):
                    note_filled(self._config.stored, swap, swap.column)
        except (FencedError, RefusedError, CorruptTableError) as error:
            return self._report(work, "failed", str(error))
        except (TableError, OSError) as error:
            return self._report(work, *cut_short(error))
        if not finished:
            return self._report(work, "interrupted", f"{STOPPED}; what was written before is published: {RESUME}")
        return self._report(work, "complete")

    def _fetch(self, work: _Progressed) -> None:
        """Fetch and embed what needs it. Raises as `prepare` does."""
        phase = self._progress.phase
        folder = delta_folder(self._config.stored, self._run_id)
        delta = write_delta(
            work.changes,
            self._fetched,
            source=self._recorded.registered,
            run_id=self._run_id,
            folder=folder,
            storage=self._job.storage,
            whatever_bytes=self._whatever_bytes,
        )
        failpoint("refresh.delta")
        try:
            phase(
                f"{counted(work.to_fetch, 'image')} to fetch; opening "
                f"{', '.join(m.name for m in self._job.columns.values())}"
            )
            digests = work.takeable.digests if work.takeable else b""
            prepared = prepare(self._job, self._job.source, folder, phase=phase, delta=delta.manifest, moved=digests)
            choice = prepared.settle().choice
            check_cluster(prepared, choice)
            work.run = RefreshRun(
                prepared,
                choice,
                self._run_id,
                self._interrupts,
                self._progress,
                delta=delta,
                takeable=work.takeable,
                versions=work.changes.versions,
                stale=positions_of(work.changes, "stale"),
            )
            store_run_file(self._job, self._run_id, "config.json", self._names, self._storage)
            with self._interrupts.deferred():
                work.run_report = work.run.go()
        finally:
            drop_delta(folder, self._job.storage)
        if work.run.refusal:
            raise ApiError(work.run.refusal)
        self._store_report(work.run_report)

    def _store_report(self, report: Report) -> None:
        try:
            store_run_file(report, self._run_id, "report.json", self._names, self._storage)
        except OSError as error:
            self._progress.note(f"the report of run {self._run_id} is not stored: {error}")

    def _apply(self, work: _Progressed) -> bool:
        """What needs no image. False where a stop was asked for."""
        if work.committer is None:
            work.committer = self._claim(work.changes)
        rows = sum(work.changes.counts[state] for state in (*self._carried, "deleted"))
        with fragment_tasks(self._job.cluster, rows) as execute:
            work.applied = Applied(
                work.changes,
                work.committer,
                deleted=self._config.deleted,
                carried=self._carried,
                taken=work.takeable.taken if work.takeable else set(),
                execute=execute,
                stop=self._interrupts.stop,
                phase=self._progress.phase,
            )
            return work.applied.run()

    def _claim(self, changes: Changes) -> Committer:
        schema = self._config.stored.latest().schema
        committer = Committer.open(self._names, schema, run_id=self._run_id, storage=self._storage)
        check_still_so(committer, changes.versions)
        abandon_unfinished(committer, self._recorded.registered, self._job.storage)
        finish_takedowns(self._config.stored, committer)
        if self._config.source or self._config.settings:
            # No manifest of this run's tells the next one what was given.
            store_run_file(self._job, self._run_id, "config.json", self._names, self._storage)
            remember_run(committer, self._recorded.registered, self._run_id)
        return committer

    def _report(self, work: _Progressed, status: Status, message: str = "", *, began: bool = True) -> RefreshReport:
        run, applied, committer = work.run, work.applied, work.committer
        done = applied.done if applied else Counter[str]()
        run_report = work.run_report
        same = run.same if run else Counter[str]()
        return RefreshReport(
            status=status,
            message=message,
            table=self._config.table,
            source=self._recorded.registered,
            run_id=self._run_id if began else None,
            dry_run=self._config.dry_run,
            counts=_counts(work),
            to_fetch=work.to_fetch,
            embedded=run_report.embedded_now if run_report else 0,
            failed=run_report.failed_now if run_report else 0,
            failures_by_class=run_report.failures_by_class if run_report else {},
            carried=same.total() - same["not_modified"] + sum(done[state] for state in (*self._carried, "deleted")),
            rows_deleted=done["rows deleted"],
            failures_deleted=done["failures deleted"] + (run.failures_deleted if run else 0),
            gone_meanwhile=(run.gone_meanwhile if run else 0) + (applied.gone_meanwhile if applied else 0),
            seconds=0.0,
            images_per_s=run_report.images_per_s if run_report else 0.0,
            commits=committer.commits if committer else 0,
            versions=committer.versions if committer else dict(work.changes.versions),
            tag=None,
            upkeep=None,
            run=run_report,
            notices=[*work.changes.notices, *(run_report.notices if run_report else [])],
        )


def _ended_unfilled(table: Table) -> Swap | None:
    """The last swap, where it has left some rows without a vector: after its end nothing else fills them."""
    swap = read_swap(table.latest().metadata)
    ended = swap is not None and swap.kind == "swap" and swap.state in ("flipped", "finished")
    return swap if ended and swap is not None and swap.unfilled else None


def _counts(work: _Progressed) -> dict[str, int]:
    """The states as they were found, and of images with known bytes what these have told."""
    counts = Counter[str]({str(state): count for state, count in work.changes.counts.items()})
    if work.run is not None:
        same = work.run.same
        counts.subtract({state: same[state] for state in ("changed", "asked", "new", "retried")})
        counts["touched"] += same["changed"] + same["asked"]
        counts["unchanged"] += same["not_modified"]
        # What is left of those that were asked had other bytes.
        counts["changed"] += counts["asked"] - same["not_modified"]
        counts["asked"] = 0
        counts["moved"] += same["new"] + same["retried"]
    if work.takeable is not None:
        counts["deleted"] -= work.takeable.taken_deleted
        counts["gone"] -= len(work.takeable.taken) - work.takeable.taken_deleted
    return {state: counts[state] for state in work.changes.counts}
