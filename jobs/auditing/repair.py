"""What can be mended of what an audit found: planned, and carried out when asked."""

import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from jobs import embed, refresh
from jobs.auditing.look import CANNOT, Looked
from jobs.auditing.recorded import for_ready_vectors, recorded_job
from jobs.auditing.report import RepairStep
from jobs.config.embed import EmbedConfig
from jobs.refreshing.config import RefreshConfig
from operators.base.errors import ErrorClass, UserError
from operators.storage.redact import reason_of
from pipelines.audit.copies import failed_rows, later_copies
from pipelines.commits.committer import Committer
from pipelines.ledger.entries import ManifestEntry
from pipelines.reread.manifests import is_unchanged
from pipelines.versions.prune import SWEPT_AGE, sweep


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One thing that a repair does, or that it leaves to the user."""

    what: str
    count: int
    do: Callable[["Repair"], None] | None = None
    """None: it is named only."""
    command: str | None = None


class Repair:
    """A repair under way: the term on both tables is taken when first needed, which stops a run that is on."""

    def __init__(self, found: Looked) -> None:
        self.found = found
        self._committer: Committer | None = None

    @property
    def committer(self) -> Committer:
        if self._committer is None:
            table, schema = self.found.config.stored, self.found.vectors.schema
            run_id = f"audit-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
            self._committer = Committer.open(table.names, schema, run_id=run_id, storage=table.storage)
        return self._committer

    def job(self, entry: ManifestEntry) -> EmbedConfig:
        """The embed job of a manifest as it was recorded. Raises `UserError` where it cannot go on with it."""
        found = self.found
        job = recorded_job(found.config, found.vectors.schema, found.entries, entry)
        if job is None:
            raise UserError(f"{entry.source}: no configuration of its runs is left; embed it by hand")
        work = f"{found.config.stored.names.runs}/manifests"
        if not is_unchanged(entry, job.source, work, job.storage):
            raise UserError(
                f"{entry.source}: has changed since, and an embed job would take it for another manifest; embed it "
                "with --skip-existing, which takes the ids that are not there"
            )
        if any(opened.ready_vectors for opened in found.opened if opened.entry == entry):
            return for_ready_vectors(job)
        return job

    def embed(self, job: EmbedConfig, **asked: Any) -> None:
        """Raises `RuntimeError` with the report's message where it does not end."""
        self._committer = None
        report = embed.run(job.model_copy(update={"max_failed": 1.0, **asked}))
        if report.status != "complete":
            raise RuntimeError(report.message)

    def refresh(self) -> None:
        config = self.found.config
        asked = {"storage": config.storage, "table_storage": config.table_storage, "cluster": config.cluster}
        self._committer = None
        report = refresh.run(RefreshConfig.model_validate({"table": config.table, **asked, "upkeep": False}))
        if report.status != "complete":
            raise RuntimeError(report.message)


def plan(found: Looked, *, restore: bool) -> list[PlannedStep]:
    """The steps, in the order in which they are taken: `restore` embeds again what another tool has deleted."""
    table = found.config.table
    steps = [*_second_copies(found), *_moved_failures(found)]
    broken = [each for each in found.faults if each.kind in ("unreadable", "file_missing", "file_size")]
    if any(not found.files[each.where].broken_indexes or each.kind != "file_missing" for each in broken):
        steps.append(
            PlannedStep(
                what="rows whose files are gone or damaged are not embedded again: put the files back, or take the "
                "table back with LanceDB, checkout(VERSION) and restore(), to a version that does not list them; then "
                "audit again",
                count=sum(each.count for each in broken),
            )
        )
    else:
        steps += [*_bad_vectors(found), *_missing_rows(found, restore), *_incomplete_of_refreshed(found, restore)]
    steps += [
        PlannedStep(what=f"{name}: build the index again", count=1, command=f"pixlake index {shlex.quote(table)}")
        for name in found.files["vectors"].broken_indexes
    ]
    steps += [_by_hand(found, each.kind, each.where, each.count) for each in found.faults if each.kind in _BY_HAND]
    if found.files["vectors"].unlisted or found.files["failures"].unlisted:
        steps.append(
            PlannedStep(
                what=f"remove files that no version lists and that are older than {SWEPT_AGE.days} days",
                count=sum(each.unlisted for each in found.files.values()),
                do=lambda repair: sweep(repair.found.config.stored),
            )
        )
    return steps


_BY_HAND = ("stray", "derived", "space", "taken_down", "wrong_row")


def _by_hand(found: Looked, kind: str, where: str, count: int) -> PlannedStep:
    table = shlex.quote(found.config.table)
    named = {
        "stray": "rows of no manifest stay; if they are not wanted, delete them with LanceDB",
        "derived": f"drop {where} with LanceDB, drop_columns(['{where}']), and make it again "
        "with `pixlake reduce`, `cluster` or `classify`",
        "space": f"{where} is not what its record says; restore a version in which it was, or embed into a new table",
        "taken_down": "delete the rows of images that were taken down once more",
        "wrong_row": "rows with others' ids stay: another tool has changed them, or --manifest is another manifest",
    }
    [ids] = [each.examples for each in found.faults if (each.kind, each.where) == (kind, where)]
    command = f"pixlake delete {table} --id {shlex.quote(ids[0])}" if kind == "taken_down" else None
    return PlannedStep(what=named[kind], count=count, command=command)


def _second_copies(found: Looked) -> list[PlannedStep]:
    assert found.in_vectors is not None
    assert found.in_failures is not None
    keys = {"vectors": found.in_vectors.repeated, "failures": found.in_failures.repeated}
    count = sum(map(len, keys.values()))
    if not count:
        return []

    def do(repair: Repair) -> None:
        finders = {name: (lambda dataset, name=name: later_copies(dataset, keys[name])) for name in keys}
        repair.committer.delete_found(finders["vectors"], finders["failures"])

    return [PlannedStep(what="delete second copies of rows; the first one stays", count=count, do=do)]


def _moved_failures(found: Looked) -> list[PlannedStep]:
    if not len(found.both):
        return []
    nothing = np.zeros(0, np.int64)
    return [
        PlannedStep(
            what="delete failures of images that have a vector",
            count=len(found.both),
            do=lambda repair: _ignore(repair.committer.delete_positions(nothing, found.both)),
        )
    ]


def _ignore(done: object) -> None:
    """What was done is counted by the audit that follows."""


def _bad_vectors(found: Looked) -> list[PlannedStep]:
    keys, table = found.bad_keys(), shlex.quote(found.config.table)
    steps = []
    for opened in found.opened:
        mine, entry = keys[opened.owns(keys)], opened.entry
        if not len(mine) or found.refreshed(entry):
            continue

        def do(repair: Repair, mine: np.ndarray = mine, entry: ManifestEntry = entry) -> None:
            job = repair.job(entry)
            repair.committer.give_up(failed_rows(repair.committer.datasets[0], mine))
            repair.embed(job, retry_failed=ErrorClass.BAD_VECTOR)

        command = f"pixlake embed {shlex.quote(entry.source)} {table} --retry-failed bad_vector"
        what = "make failures of rows whose vectors are not right, and embed them again"
        steps.append(PlannedStep(what=what, count=len(mine), do=do, command=command))
    if len(mine := _of_refreshed(found, keys)):
        what = "delete rows whose vectors are not right, and refresh: their images are new then"
        steps.append(_anew_by_refresh(table, mine, what))
    return steps


def _of_refreshed(found: Looked, keys: np.ndarray) -> np.ndarray:
    """Those of the sorted position keys that refreshes have written."""
    mine = [keys[opened.owns(keys)] for opened in found.opened if found.refreshed(opened.entry)]
    return np.unique(np.concatenate([np.zeros(0, np.int64), *mine]))


def _anew_by_refresh(table: str, keys: np.ndarray, what: str) -> PlannedStep:
    def do(repair: Repair) -> None:
        repair.committer.delete_positions(keys, np.zeros(0, np.int64))
        repair.refresh()

    return PlannedStep(what=what, count=len(keys), do=do, command=f"pixlake refresh {table}")


def _incomplete_of_refreshed(found: Looked, restore: bool) -> list[PlannedStep]:
    """A refresh takes an image for unchanged by its version, whatever regions it lacks."""
    assert found.in_vectors is not None
    keys, table = _of_refreshed(found, found.in_vectors.incomplete), shlex.quote(found.config.table)
    if not len(keys):
        return []
    if restore:
        what = "delete what is left of images that lack regions, and refresh: they are new then"
        return [_anew_by_refresh(table, keys, what)]
    what = "images that lack regions, which another tool has deleted, stay as they are; --restore embeds them again"
    return [PlannedStep(what=what, count=len(keys), command=f"pixlake audit {table} --repair --restore --yes")]


def _missing_rows(found: Looked, restore: bool) -> list[PlannedStep]:
    steps = []
    assert found.in_vectors is not None
    for opened in found.opened:
        missing = found.missing.get(opened.entry.digest)
        if missing is not None:
            gone = len(missing.deleted) + int(opened.owns(found.in_vectors.incomplete).sum())
            steps += _of_manifest(found, opened.entry, len(missing.never), gone, restore)
    return steps


def _of_manifest(found: Looked, entry: ManifestEntry, never: int, gone: int, restore: bool) -> list[PlannedStep]:
    command = f"pixlake embed {shlex.quote(entry.source)} {shlex.quote(found.config.table)}"
    if never and entry.status not in ("complete", "undone"):
        return [PlannedStep(what=f"run {entry.run_id} is {entry.status}: go on with it", count=never, command=command)]
    if never or (gone and restore):

        def do(repair: Repair) -> None:
            repair.embed(repair.job(entry), deleted="restore")

        what = "embed rows that are in neither table, and images that lack regions"
        return [PlannedStep(what=what, count=never + gone, do=do, command=f"{command} --deleted restore")]
    if gone:
        what = (
            "rows or regions that another tool has deleted stay out; --restore embeds them again, and the embed job "
            "records with `--deleted keep-out` that they are to stay out"
        )
        return [PlannedStep(what=what, count=gone, command=f"{command} --deleted keep-out")]
    return []


def as_planned(steps: list[PlannedStep]) -> list[RepairStep]:
    return [_told(step, "planned" if step.do else "by hand") for step in steps]


def _told(step: PlannedStep, state: Any, why: str = "") -> RepairStep:
    what = f"{step.count:,}: {step.what}" + (f"; {why}" if why else "")
    return RepairStep(what=what, count=step.count, state=state, command=step.command)


def carry_out(found: Looked, steps: list[PlannedStep]) -> list[RepairStep]:
    """Take the steps, each whatever became of the others."""
    repair, done = Repair(found), []
    for step in steps:
        if step.do is None:
            done.append(_told(step, "by hand"))
            continue
        try:
            step.do(repair)
        except (*CANNOT, RuntimeError) as error:
            done.append(_told(step, "failed", reason_of(error)))
        else:
            done.append(_told(step, "done"))
    return done
