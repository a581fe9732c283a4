"""One run on one table: claim, register, passes over what is left, audit, report."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial

import numpy as np

from jobs.embedding.deleted_rows import DeletedRows, finish_takedowns, forget_lost
from jobs.embedding.known_manifest import content_of
from jobs.embedding.prepared import Prepared
from jobs.embedding.progress import RunProgress
from jobs.embedding.report import build_report
from jobs.embedding.written_columns import WrittenColumns
from jobs.reports.bad_vectors import BadVectorsError, check_bad_vectors
from jobs.reports.frequent_failure import exceeds
from jobs.reports.run_report import Report, Status
from jobs.session.interrupts import Interrupts
from jobs.session.last_report import forget, keep_for_the_parent
from jobs.session.ray_cluster import ray_cluster
from operators.base.counted import counted
from operators.base.errors import ErrorClass, UserError
from operators.base.failpoints import failpoint
from operators.fetching.options import Waits
from operators.storage.no_space import is_no_space
from operators.storage.redact import reason_of
from pipelines.balance.choose import Choice
from pipelines.commits.committer import Committer, Published
from pipelines.commits.receipts import Receipt
from pipelines.commits.registry import Registry
from pipelines.ledger.accounts import take_account
from pipelines.ledger.entries import ManifestEntry
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.skip_ids import SkipIds
from pipelines.ledger.takedowns import come_back
from pipelines.manifests.manifest import Shard
from pipelines.run.epochs import (
    MOST_BLOCKS,
    Execute,
    RowsLeftError,
    RunFailedError,
    RunInterruptedError,
    run_epochs,
)
from pipelines.run.execute import STOPPED, Executor, executor
from pipelines.run.local import sized_for_threads
from pipelines.run.pipeline import Pipeline
from pipelines.run.stage import Stage
from pipelines.sources.strangers import leave_out_strangers
from pipelines.sources.work import ShardWork, shard_work
from pipelines.table.errors import (
    CorruptTableError,
    FencedError,
    RefusedError,
    TableError,
    TableGoneError,
)
from pipelines.table.positions import PositionSet

RESUME = "run the same command again to go on from there"

WantedRows = Callable[[int, int], np.ndarray]
"""Shard number in the table and its rows -> (rows,) bool."""

Publish = Callable[[Sequence[Receipt]], Published]


def cut_short(error: Exception) -> tuple[Status, str]:
    """The status and the message of a run that storage has ended: with room on a full disk the same command goes on."""
    full = is_no_space(error)
    why = f"{'no space left: ' if full else ''}{reason_of(error)}"
    return "interrupted" if full else "failed", f"{why}; what is committed stays: {RESUME}"


class EmbedRun:
    """One run, which holds the latest term (the fencing token) on the table from construction on."""

    def __init__(
        self, prepared: Prepared, choice: Choice, run_id: str, interrupts: Interrupts, progress: RunProgress
    ) -> None:
        self.prepared, self.choice = prepared, choice
        self.config = prepared.config
        self.run_id = run_id
        self.interrupts = interrupts
        self.progress = progress
        self.stages: tuple[Stage, ...] = prepared.pipeline.stages
        self.refusal: str | None = None
        """Why an API refused the caller: the report's message, and what the user must mend."""
        self.committer = Committer.open(
            prepared.names,
            prepared.pipeline.sink.vectors_schema,
            run_id=run_id,
            storage=self.config.storage_of_table,
        )
        self.columns = WrittenColumns(prepared, self.committer, progress.note)
        self.notices: list[str] = []
        self.nodes_lost: list[str] = []
        self.before: ManifestEntry | None = None
        """The manifest's entry when this run began; None where there was none."""
        self.entry = self._register()
        self.finished_before = self.entry.status == "complete"
        finish_takedowns(prepared.stored, self.committer)
        self.deleted = DeletedRows(prepared, self.entry, run_id, self.before)

    def _register(self) -> ManifestEntry:
        registry, manifest = Registry(self.committer), self.prepared.manifest
        if self.config.abandon:
            registry.abandon(self.config.abandon)
        known = {entry.digest: entry for entry in registry.entries()}
        self.before = known.get(manifest.digest)
        lost = forget_lost(self.prepared, self.before)
        if lost:
            self.progress.note(lost)
        return registry.register(
            digest=manifest.digest,
            source=manifest.uri,
            rows=manifest.num_rows,
            num_shards=len(manifest.shards),
            run_id=self.run_id,
            limit=self.config.source.limit,
            whole=manifest.complete,
        )

    def go(self) -> Report:
        """Run to the end. What goes wrong on the way (storage that fails, another driver, an API that refuses the
        caller) raises nothing: it ends in a report too."""
        try:
            return self._go()
        except (FencedError, RefusedError, CorruptTableError, TableGoneError) as error:
            # What these say to do comes before the same command can go on.
            return self._report("failed", str(error))
        except BadVectorsError as error:
            return self._report("failed", str(error), many_bad_vectors=True)
        except RowsLeftError as error:
            return self._left(error)
        except RunInterruptedError as error:
            return self._report("interrupted", f"{reason_of(error)}; what is committed stays: {RESUME}")
        except (RunFailedError, TableError, OSError) as error:
            return self._report(*cut_short(error))
        finally:
            forget()

    def _go(self) -> Report:
        ledger = self._load_ledger()
        self.deleted.settle(ledger, self.committer, self.progress.note)
        if self.finished_before and not self.config.retry_failed and not self._rows(self._undone):
            return self._report("complete")
        retry = self.committer.open_failures(self._retried_class()) if self.config.retry_failed else None
        rows = self._rows(self._undone) + (self._rows(retry.mask) if retry else 0)
        if not rows:
            return self._finish()
        choice = self.choice
        if self.config.cluster.executor == "auto":
            self.progress.note(
                f"executor: {choice.why(self.config.cluster)}; blocks of {counted(choice.block_rows, 'row')}"
            )
        if choice.executor == "local":
            self.stages = sized_for_threads(self.stages, self.prepared.cluster.cores_here)
        else:
            self.progress.tally.num_writers = self.config.cluster.num_writers
        self.progress.plan(
            total=self.prepared.rows,
            done=self.prepared.rows - rows,
            stages=self.stages,
            models=", ".join(model.name for model in self.prepared.config.columns.values()),
        )
        self._keep_report()
        with self._executor() as ready:
            finished = self._pass(ready, self._undone, self._commit, self._waits_for)
            if finished and retry:
                finished = self._pass(ready, retry.mask, partial(self._move, retry), lambda rows: Waits.LAST)
        return self._finish() if finished else self._stopped()

    def _load_ledger(self) -> Ledger:
        ledger = self.committer.load_ledger(self.entry.first_shard, self.entry.num_shards)
        strangers, held = leave_out_strangers(ledger, self.prepared.manifest), self.committer.datasets
        back = come_back(self.deleted.takedowns, self.config.table, *held)
        self.notices = [*strangers, *take_account(*held).notices(self.entry), *back]
        return ledger

    def _stopped(self) -> Report:
        usage, cap = self.progress.tally.api, self.config.api.max_spend_usd
        if usage is None:
            return self._report("interrupted", f"{STOPPED}; what was written before is published: {RESUME}")
        if usage.refused and usage.refused != STOPPED:
            self.refusal = f"{usage.refused}. Every row that was done is published; {RESUME} when that is mended"
            return self._report("failed", self.refusal)
        why = STOPPED if usage.refused else f"the spend cap api.max_spend_usd = {cap:g} is reached"
        return self._report("interrupted", f"{why}; every row that was done is published: {RESUME}")

    def _left(self, error: RowsLeftError) -> Report:
        """Rows that no execution could try for no fault of theirs."""
        why = self.progress.tally.why_not_attempted
        if not why:
            return self._report("failed", f"{error}; what is committed stays: {RESUME}")
        return self._report(
            "interrupted",
            f"{counted(error.rows, 'row')} could not be read: {why}. They are left for another run, and are no "
            f"failures: {RESUME} when that is mended, or with --set max_failed=1 to have them as failures",
        )

    def _retried_class(self) -> str | None:
        return None if self.config.retry_failed == "all" else self.config.retry_failed

    def _waits_for(self, rows: int) -> Waits:
        """How so many rows are waited for that were slow, or whose hosts were given up: as failures at the end, but not
        where that would be more of them than may be."""
        ledger = self.committer.ledger
        too_many = exceeds(ledger.failures.count + rows, ledger.vectors.count, self.config.max_failed)
        return Waits.LAST_AND_LEAVE if too_many else Waits.LAST

    def _pass(self, ready: Executor, wanted: WantedRows, publish: Publish, waits: Callable[[int], Waits]) -> bool:
        """Work until nothing `wanted` is left. True then, False when a stop was asked for."""
        while True:
            try:
                return self._epochs(ready, wanted, publish, waits)
            except UserError:
                # A worker's comes from Ray with its words alone, so that the tables are asked what changed.
                if not self.columns.refit():
                    raise

    def _epochs(self, ready: Executor, wanted: WantedRows, publish: Publish, waits: Callable[[int], Waits]) -> bool:
        cluster = self.config.cluster

        def last(rows: int) -> Execute:
            self.progress.note(f"{counted(rows, 'row')} took longer than others, and are tried together")
            return ready.last(waits(rows))

        return run_epochs(
            partial(self._remaining, wanted),
            ready.execute,
            partial(self._publish, publish),
            watcher=self.progress,
            stop=ready.stop,
            epoch_rows=min(cluster.epoch_rows, MOST_BLOCKS * self.choice.block_rows),
            commit_interval_s=cluster.commit_interval_s,
            retries=cluster.retries,
            halted=ready.halted,
            halt=ready.halt,
            abort=ready.abort,
            last=last,
            standing=ready.standing,
            no_progress_s=cluster.no_progress_timeout_s,
            cut_short=ready.cut_short,
        )

    def _publish(self, publish: Publish, wave: Sequence[Receipt]) -> None:
        published = publish(wave)
        self.deleted.published(wave, self.committer.ledger)
        tally = self.progress.tally
        tally.published(published)
        self._keep_report()
        if not self.config.retry_failed:
            # Among rows that have failed before, bad vectors are no surprise.
            bad, allowed = tally.failure_counts[ErrorClass.BAD_VECTOR], self.config.max_bad_vectors
            check_bad_vectors(bad, tally.vectors, allowed, self.config.table)

    def _commit(self, wave: Sequence[Receipt]) -> Published:
        return self.committer.commit(wave)

    def _move(self, retry: PositionSet, wave: Sequence[Receipt]) -> Published:
        """Publish a wave of tried failures. Each is tried once a run: one that fails again, or is skipped now, leaves
        `retry` too."""
        published = self.committer.move(wave)
        for receipt in wave:
            retry.remove(receipt.vector_keys)
            retry.remove(receipt.failure_keys)
            retry.remove(receipt.skipped_keys)
            retry.remove(receipt.kept_out_keys)
        return published

    def _undone(self, shard: int, rows: int) -> np.ndarray:
        return ~self.committer.ledger.done(shard, rows)

    def _remaining(self, wanted: WantedRows) -> Iterator[ShardWork]:
        for shard in self.prepared.manifest.shards:
            number = self.entry.first_shard + shard.number
            mask = wanted(number, shard.num_rows) & self._within_limit(shard)
            item = shard_work(shard, number, mask)
            if item is not None:
                yield item

    def _within_limit(self, shard: Shard) -> np.ndarray:
        return np.arange(shard.first_row, shard.first_row + shard.num_rows) < self.prepared.rows

    def _rows(self, wanted: WantedRows) -> int:
        return sum(item.num_wanted for item in self._remaining(wanted))

    def _executor(self) -> AbstractContextManager[Executor]:
        choice = self.choice
        return executor(
            self._with_skip_ids(),
            self.prepared.cluster,
            here=choice.executor == "local",
            block_rows=choice.block_rows,
            sink=lambda: self.columns.sink,
            on_ray=self._on_ray,
            stop=self.interrupts.stop,
            on_rows=self.progress.embedded,
            on_usage=self.progress.tally.charged,
            on_sized=self._resized,
        )

    def _resized(self, stages: tuple[Stage, ...]) -> None:
        """What was left of the cluster, or came back to it, has other pools than before."""
        if stages != self.stages:
            pools = ", ".join(f"{stage.name} {stage.resources.num_actors}" for stage in stages)
            self.nodes_lost.append(f"nodes of the cluster were lost in mid-run; it went on with other pools: {pools}")
        self.stages = self.progress.stages = stages

    @contextmanager
    def _on_ray(self, stages: Sequence[Stage]) -> Iterator[tuple[Stage, ...]]:
        cluster = self.prepared.cluster
        self.progress.phase("starting Ray" if cluster.address is None else f"connecting to Ray at {cluster.address}")
        # Ray prints to stdout when a worker dies, and with `verbose` all that workers print; stdout is for the result.
        # This stderr is the one that `ray_cluster` silences unless `verbose`.
        with redirect_stdout(sys.stderr), ray_cluster(cluster, stages, verbose=self.config.verbose) as sized:
            self.stages = self.progress.stages = sized
            yield sized

    def _with_skip_ids(self) -> Pipeline:
        """The pipeline without ids that are taken down and, with `--skip-existing`, those of other manifests."""
        source = replace(self.prepared.pipeline.source, taken_down=self.deleted.takedowns.known_ids())
        pipeline = replace(self.prepared.pipeline, source=source)
        if not self.config.skip_existing:
            return pipeline
        first, last = self.entry.first_shard, self.entry.first_shard + self.entry.num_shards
        # The manifest's own rows are left out by position; by id, a second row of the same id would be lost.
        skip_ids = SkipIds.from_columns(self.committer.read_ids(f"`shard` < {first} OR `shard` >= {last}"))
        return replace(pipeline, source=replace(pipeline.source, skip_ids=skip_ids))

    def _finish(self) -> Report:
        """Read the tables once more and report: the promise is about what they hold, not about what was sent to
        them."""
        skipped = self.committer.ledger.skipped
        ledger = self._load_ledger()
        ledger.skipped = skipped
        self.deleted.find(ledger)
        missing = self._rows(self._undone)
        if missing:
            return self._report(
                "failed", f"{counted(missing, 'row is', 'rows are')} in neither table after the run: {RESUME}"
            )
        failpoint("run.audited")
        content = content_of(self.prepared, self.entry, self.progress)
        self.entry = Registry(self.committer).complete(self.entry, content)
        return self._report("complete", self.columns.about_left_null())

    def _keep_report(self) -> None:
        keep_for_the_parent(self._report("interrupted", over=False), self.prepared.names, self.config.storage_of_table)

    def _report(
        self, status: Status, message: str = "", *, over: bool = True, many_bad_vectors: bool = False
    ) -> Report:
        return build_report(
            self.prepared,
            self.committer.ledger,
            self.progress.tally,
            run_id=self.run_id,
            status=status,
            message=message,
            stages=self.stages,
            commits=self.committer.commits,
            versions=self.committer.versions,
            notices=[*self.committer.notices, *self.notices, *self.nodes_lost],
            over=over,
            many_bad_vectors=many_bad_vectors,
        )
