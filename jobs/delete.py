"""`pixlake delete`: images taken down, out of the table now and kept out of it by every later run."""

import secrets
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field, model_validator

from jobs.config.read import ReadConfig
from jobs.finding.id_file import read_ids
from jobs.finding.still_alike import NEEDED, images_alike, still_alike
from jobs.session.progress import working
from jobs.swapping.takedowns import take_down_beside
from operators.base.columns import ID, REGION_ID
from operators.base.counted import counted
from operators.base.errors import UserError, printable
from operators.storage.redact import redact_uri
from pipelines.commits.committer import Committer
from pipelines.ledger.entries import read_entries
from pipelines.ledger.takedowns import (
    Takedowns,
    forget_takedowns,
    note_carried_out,
    record_takedowns,
    records_of_places,
    takedown_records,
)
from pipelines.scan.where import filtered, row_filter
from pipelines.table.fenced_operations import MATCH_ROWS, places_of
from pipelines.table.table import Table


class DeleteConfig(ReadConfig):
    """Which images are taken down: those that are named, and those with a row that matches."""

    where: str | None = None
    id: tuple[str, ...] = ()
    ids: str | None = None
    """A file of ids: .parquet, .csv or .jsonl with a column `id`, or .txt with an id a line."""
    whole_images: bool = False
    """Of a file of duplicates that names regions: take down the images of which every region is named."""
    dry_run: bool = False
    forget: bool = False
    """Take records back instead: later runs may embed these ids again."""

    @model_validator(mode="after")
    def _something_is_named(self) -> "DeleteConfig":
        if self.where is None and not self.id and self.ids is None:
            raise ValueError("nothing is named: give --where SQL, --ids FILE, or --id ID, as often as there are ids")
        if "" in self.id:
            raise ValueError("--id is empty and names no image; rows whose id is the empty text: --where \"id = ''\"")
        if self.forget and (self.where is not None or self.dry_run):
            raise ValueError("--forget takes --id and --ids alone: the rows of what was deleted are not there to match")
        return self


class Deleted(BaseModel):
    """What was taken down, or with `dry_run` would be."""

    table: str
    dry_run: bool
    ids: int
    """Images, by id: as many as are recorded by this command."""
    vectors: int
    """Rows of the vector table, all regions of an image."""
    failures: int
    """Rows of the failures table."""
    forgotten: int = Field(default=0)
    """Ids whose record was taken back."""
    left_out: int = Field(default=0)
    """Ids of a file of duplicates that stay: the image that was to stay is gone, or one of the two has changed."""
    images_left: int = Field(default=0)
    """Images of a file of regions that stay: not every region of theirs is named, and a duplicate now."""
    version: int
    """Version of the vector table."""


def run(config: DeleteConfig) -> Deleted:
    """Take the images down. Raises `UserError` for a table, filter or ids that do not work, `TableError` and `OSError`
    where storage fails."""
    table = config.stored
    dataset, failures = table.latest(), table.latest_failures()
    if config.forget:
        forgotten = forget_takedowns(table, _named(config, None)[0].to_pylist())
        return Deleted(
            table=config.table,
            dry_run=False,
            ids=0,
            vectors=0,
            failures=0,
            forgotten=forgotten,
            version=dataset.version,
        )
    named, left = _named(config, dataset)
    ids = _ids(config, named, dataset)
    if config.dry_run or (not len(ids) and Takedowns.read(table).finished):
        counts = {"vectors": places_of(dataset, ids).num_rows, "failures": places_of(failures, ids).num_rows}
        return Deleted(
            table=config.table,
            dry_run=config.dry_run,
            ids=len(ids),
            version=dataset.version,
            **counts,
            **left,
        )
    run_id = f"delete-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    with working(f"deleting from {config.table}"):
        # A run that is on is stopped here: what it holds for done would no longer be so.
        committer = Committer.open(table.names, dataset.schema, run_id=run_id, storage=table.storage)
        # Once more: rows may have come since.
        named, left = _named(config, table.latest())
        ids = _ids(config, named, table.latest())
        return _delete(config, table, committer, ids, run_id).model_copy(update=left)


def _named(config: DeleteConfig, dataset: Any) -> tuple[pa.Array, dict[str, int]]:
    """(the ids that are named, here or in a file; what of the file is left out, by the field of `Deleted`).

    Of a file of duplicates those that are still duplicates in the `dataset`, where one is given: an older file must
    not take the last copy."""
    ids, left = pa.array(config.id, pa.string()), dict[str, int]()
    if config.ids is not None:
        rows = read_ids(config.ids, config.storage)
        if REGION_ID.name in rows.column_names:
            _check_whole_images(config)
            whole, left["images_left"] = images_alike(dataset, rows)
            rows = pa.table({ID.name: whole})
        elif dataset is not None and {*NEEDED} <= {*rows.column_names}:
            alike = rows.filter(still_alike(dataset, rows))
            left["left_out"] = rows.num_rows - alike.num_rows
            rows = alike
        ids = pa.concat_arrays([ids, *rows["id"].chunks])
    return ids, left


def _check_whole_images(config: DeleteConfig) -> None:
    where = f"ids {redact_uri(config.ids or '')}"
    if config.forget:
        raise UserError(f"{where}: names regions, and what was deleted are images: name them by --id, or by their ids")
    if not config.whole_images:
        raise UserError(
            f"{where}: names regions, and an image's regions stay or go together: a run would take an image that lacks "
            "some for damaged. --whole-images takes down the images of which every region is named. To leave out "
            f"single regions, read {config.table}__duplicates beside the table"
        )


def _ids(config: DeleteConfig, named: pa.Array, dataset: Any) -> pa.Array:
    """The ids to take down, each once: those named, and those of the rows that match."""
    matched: list[pa.Array] = []
    if config.where is not None:
        condition = row_filter(dataset, config.where)
        scanner = dataset.scanner(
            columns=[ID.name], filter=f"({condition})", use_scalar_index=False, batch_size=MATCH_ROWS
        )
        with filtered(dataset, config.where):
            matched = [batch[ID.name] for batch in scanner.to_batches()]
    return pc.unique(pa.chunked_array([named, *matched])).drop_null()


def _delete(config: DeleteConfig, table: Table, committer: Committer, ids: pa.Array, run_id: str) -> Deleted:
    """Record first, then delete: what a kill leaves undone is finished by the next run, or by the same command."""
    there, known = committer.places(ids), Takedowns.read(table).ids
    record_takedowns(table, records_of_places(there, read_entries(committer.metadata, committer.failures_metadata)))
    nowhere = ids.filter(pc.invert(pc.is_in(ids, value_set=pa.chunked_array([known, *there[ID.name].chunks]))))
    record_takedowns(table, takedown_records(nowhere))
    takedowns = Takedowns.read(table)
    vectors, failures = committer.delete_ids(takedowns.ids)
    take_down_beside(table, run_id)
    note_carried_out(table, takedowns.records.num_rows)
    return Deleted(
        table=config.table,
        dry_run=False,
        ids=len(ids),
        vectors=vectors,
        failures=failures,
        version=committer.versions["vectors"],
    )


def as_text(deleted: Deleted) -> str:
    if deleted.forgotten:
        return (
            f"{deleted.table}: {counted(deleted.forgotten, 'id is', 'ids are')} no longer recorded as deleted; "
            f"`pixlake embed SOURCE {deleted.table} --deleted restore` brings back what is gone"
        )
    said = _said(deleted)
    if deleted.images_left:
        said += f"; {counted(deleted.images_left, 'image')} of the file left out: not all of its regions are duplicates"
    if deleted.left_out:
        said += (
            f"; {counted(deleted.left_out, 'id')} of the file left out: the image that was to stay is gone, or one of "
            f"the two has changed since; `pixlake duplicates {deleted.table}` looks again"
        )
    return printable(said)


def _said(deleted: Deleted) -> str:
    rows, failures = counted(deleted.vectors, "row"), counted(deleted.failures, "failure")
    held = f"{rows} of the vector table and {failures}, of {counted(deleted.ids, 'id')}"
    if deleted.dry_run:
        return f"{deleted.table}: would delete {held}"
    if not deleted.ids:
        return f"{deleted.table}: nothing matches, nothing is deleted"
    return f"{deleted.table}: deleted {held}, which are recorded: no run brings them back"
