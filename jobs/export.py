"""`pixlake export`: vectors of a table as files for downstream training and search; the same command again goes on."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from pydantic import BaseModel, Field, model_validator

from jobs.config.load import on_local_cluster
from jobs.config.read import PastReadConfig
from jobs.session.progress import Progress
from jobs.session.ray_cluster import ray_cluster
from operators.base.counted import counted
from pipelines.export.decoding import describe_exported, fitted_files
from pipelines.export.done import unfinished
from pipelines.export.folder import ExportFolder
from pipelines.export.part import PartTask, open_version, write_part
from pipelines.export.plan import (
    ExportError,
    ExportRequest,
    FloatType,
    Format,
    check_npy,
    count_fragments,
    num_parts,
    plan_parts,
)
from pipelines.export.record import ExportRecord
from pipelines.run.cluster import ClusterConfig
from pipelines.scan.live import count_marked, live_rows
from pipelines.scan.where import row_filter
from pipelines.space.choose import choose_column, columns_there
from pipelines.space.field import vector_columns
from pipelines.table.tasks import RunTasks, tasks_here, tasks_on_ray


class ExportConfig(PastReadConfig):
    """What is exported, and where to. `storage` is for `out`, and for the table unless `table_storage` is given."""

    out: str
    """A local folder or a bucket prefix: empty, or begun by the same export."""
    format: Format = "parquet"
    column: tuple[str, ...] = ()
    """Vector columns; default: all of them, of which npy takes one."""
    columns: tuple[str, ...] | None = None
    """Columns to export beside the vectors; default: all other columns."""
    where: str | None = None
    """SQL on the table's columns."""
    with_deleted: bool = False
    """Also rows that a refresh has marked as deleted."""
    rows_per_file: int = Field(default=250_000, ge=1, le=2_000_000_000)
    dtype: FloatType | None = None
    """What float16 is written as, for readers that take none; default: as it is."""
    cluster: ClusterConfig
    """Default: this process alone; `executor: ray` writes the files on a cluster, a task each."""

    @model_validator(mode="before")
    @classmethod
    def _fill_cluster(cls, values: Any) -> Any:
        return on_local_cluster(values, executor="local")


class Exported(BaseModel):
    """A finished export."""

    table: str
    version: int
    """Version of the table when the export began."""
    latest_version: int
    out: str
    format: Format
    vectors: tuple[str, ...]
    columns: tuple[str, ...]
    rows: int
    marked_deleted: int
    """Rows that a refresh has marked as deleted, of those that the filter takes: left out, or with `with_deleted` among
    the `rows`."""
    with_deleted: bool
    files: int
    """Parts: for npy, a part is a file of vectors and one of metadata."""
    written_now: int
    """Parts that this start wrote; the others were there."""
    fitted: tuple[str, ...]
    """Files beside the folder: what decodes exported codes, and what takes a query to a derived column."""


def run(config: ExportConfig) -> Exported:
    """Write the files that are missing. Raises `UserError` for what cannot be exported as asked, `OSError`."""
    table = config.stored
    dataset = config.vectors
    folder = ExportFolder.at(config.out, config.storage)
    record = folder.read_record()
    begun = record is not None and record.content["request"].get("table") == table.uri
    version = record.content["version"] if record is not None else dataset.version
    # Columns that were added since then are none of an export that goes on.
    there = open_version(table, version) if begun else dataset
    request = _request(config, there)
    if record is not None:
        _check_same(record, request, dataset, folder, asked=config.at)
    fitted = fitted_files(map(there.schema.field, request.vectors), table.artifacts, table.storage)
    data = {file: file.data(table.storage) for file in fitted}
    with Progress() as progress:
        progress.phase("counting rows")
        counts = count_fragments(there, request.where)
        rows = sum(count for _, count in counts)
        files = num_parts(rows, request.rows_per_file)
        if record is None:
            vectors = describe_exported(there.schema, request, fitted, folder.name)
            about = {"version": version, "rows": rows, "files": files, "vectors": vectors}
            folder.create_record({"request": request.model_dump(mode="json"), **about})
        for file in fitted:
            folder.put_beside(file.ending, data[file])
        tasks = (
            PartTask(
                request=request,
                version=version,
                part=part,
                num_files=files,
                folder=folder,
                table=table,
            )
            for part in plan_parts(counts, request.rows_per_file)
        )
        written = _write(config, list(unfinished(tasks, folder)), files, progress)
    folder.sweep()
    return Exported(
        table=config.table,
        version=version,
        latest_version=dataset.latest_version,
        out=folder.uri,
        format=request.format,
        vectors=request.vectors,
        columns=request.columns,
        rows=rows,
        marked_deleted=count_marked(there, None if config.where is None else row_filter(there, config.where)),
        with_deleted=config.with_deleted,
        files=files,
        written_now=written,
        fitted=tuple(f"{folder.uri}.{file.ending}" for file in fitted),
    )


def _request(config: ExportConfig, dataset: Any) -> ExportRequest:
    """The request. Raises `UserError` for columns that are not there or that the format cannot hold, and for a bad
    filter."""
    schema = dataset.schema
    vectors = tuple(choose_column(config.table, schema, name) for name in dict.fromkeys(config.column))
    if not vectors:
        there = columns_there(config.table, schema)
        vectors = tuple(there) if config.format == "parquet" else (choose_column(config.table, schema, None),)
    others = [name for name in schema.names if name not in vector_columns(schema)]
    for name in config.columns or ():
        if name not in others:
            raise ExportError(
                f"--columns: the table has no column {name!r} beside its vectors, which --column names; there: "
                f"{', '.join(others)}"
            )
    if config.format == "npy":
        check_npy(schema, vectors)
    chosen = others if config.columns is None else [name for name in others if name in config.columns]
    return ExportRequest(
        table=config.stored.uri,
        format=config.format,
        vectors=vectors,
        columns=tuple(chosen),
        where=_where(config, dataset),
        rows_per_file=config.rows_per_file,
        dtype=config.dtype,
    )


def _where(config: ExportConfig, dataset: Any) -> str | None:
    live = None if config.with_deleted else live_rows(dataset.schema)
    asked = None if config.where is None else row_filter(dataset, config.where)
    return " AND ".join(f"({each})" for each in (live, asked) if each) if live else asked


def _check_same(
    record: ExportRecord, request: ExportRequest, dataset: Any, folder: ExportFolder, *, asked: str | None
) -> None:
    """Raises `ExportError` where another export lies in the folder, one of another version than is `asked` for, or one
    of an older version with no file left."""
    there, here = record.content["request"], request.model_dump(mode="json")
    lines = [
        f"  {key}: there {json.dumps(there.get(key))}, asked for {json.dumps(here.get(key))}"
        for key in sorted(here.keys() | there.keys())
        if there.get(key) != here.get(key)
    ]
    is_empty = not folder.sizes()
    if not lines and record.content["version"] != dataset.version and (is_empty or asked is not None):
        wanted = f"asked for {dataset.version} (--at {asked})" if asked else f"and the table is at {dataset.version}"
        lines = [f"  version: there {record.content['version']}, {wanted}"]
    if lines:
        anew = f"; no file of it is there: to begin anew, take {record.uri} away" if is_empty else ""
        raise ExportError(
            f"{folder.uri}: holds another export:\n"
            + "\n".join(lines)
            + f"\n  Ask for the same again, or name another folder{anew}"
        )


def _write(config: ExportConfig, tasks: list[PartTask], files: int, progress: Progress) -> int:
    """Write the missing parts; how many they were."""
    written, rows = 0, 0
    with _executor(config, bool(tasks), progress) as execute:
        for part_rows in execute(write_part, tasks):
            written, rows = written + 1, rows + part_rows
            done = files - len(tasks) + written
            progress.counted(f"{done:,} of {files:,} files, {rows:,} rows", done / files)
    return written


@contextmanager
def _executor(config: ExportConfig, needed: bool, progress: Progress) -> Iterator[RunTasks]:
    if config.cluster.executor == "local" or not needed:
        yield tasks_here
        return
    progress.phase("starting Ray")
    # Ray prints to stdout when a worker dies; stdout is for the result.
    with redirect_stdout(sys.stderr), ray_cluster(config.cluster, (), verbose=False):
        yield tasks_on_ray


def as_text(exported: Exported) -> str:
    files = counted(exported.files, "file")
    what = f"{counted(exported.rows, 'row')} of {exported.table}, version {exported.version}, in {files}"
    did = f"{exported.written_now:,} written now" if exported.written_now else "all of them there already"
    lines = [f"exported   {what} ({did})", f"to         {exported.out} ({exported.format})"]
    lines.append(f"vectors    {', '.join(exported.vectors)}")
    lines.append(f"columns    {', '.join(exported.columns) or 'none'}")
    if exported.marked_deleted:
        marked = counted(exported.marked_deleted, "row that is", "rows that are")
        what = "among them, with deleted_at" if exported.with_deleted else "left out; --with-deleted exports such rows"
        lines.append(f"deleted    {marked} marked as deleted: {what}")
    lines += [f"beside it  {file}" for file in exported.fitted]
    if exported.latest_version != exported.version:
        lines.append(
            f"note       the table is at version {exported.latest_version} now; export it into another folder for that"
        )
    return "\n".join(lines)
