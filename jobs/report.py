"""`pixlake report`: one page of what a table holds, how it was made, and what jobs have found in it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, Field

from jobs import describe, drift, failures
from jobs.config.read import ReadConfig
from jobs.labelling.cluster_report import ClusterReport
from jobs.looking.images import AT, make_jpegs
from jobs.looking.sections import SHOWN_CLUSTERS, SmallPictures
from jobs.looking.table_page import AboutTable, table_page
from jobs.nights.report import FOLDER as NIGHTS
from jobs.nights.report import NightlyReport
from jobs.reports.drift import DriftReport
from jobs.reports.evaluation import Evaluation
from jobs.reports.run_report import Report, store_bytes
from jobs.reports.stored_files import REPORT, Stored, StoredFiles
from jobs.session.progress import Progress
from operators.base.columns import ID, REGION_ID, URI
from operators.base.counted import counted
from operators.base.errors import UserError
from operators.decode import DecodeOptions
from operators.fetching.options import FetchOptions
from operators.storage.redact import redact_uri
from pipelines.overview.drawn import draw_row_ids, take_columns
from pipelines.overview.duplicate_groups import DuplicateGroups, read_duplicate_groups
from pipelines.scan.plain import plain_scan
from pipelines.scan.sql import sql_text

_RUNS, _NIGHTS = 50, 30
_GROUPS, _OF_GROUP = 8, 8


class ReportConfig(ReadConfig):
    """Which table, and what of it is shown."""

    out: str
    """Path or URI of the HTML file."""
    examples: int = Field(default=5, ge=0)
    """Failures of each class that are listed."""
    images: int = Field(default=24, ge=0)
    """Images drawn at random that are shown."""
    pictures: bool = True
    """Whether images are fetched to be shown; else their names stand alone."""
    drift_from: Annotated[str | None, BeforeValidator(lambda value: None if value is None else str(value))] = None
    """A tag or version: the state with which the latest one is compared."""
    column: str | None = None
    """The vector column that is compared."""
    fetch: FetchOptions = FetchOptions()
    decode: DecodeOptions = DecodeOptions()


class TableReport(BaseModel):
    """What stands on the page."""

    table: str
    made_at: str
    out: str
    bytes: int
    described: describe.Described
    runs: list[Report]
    """The latest first."""
    failures: failures.Failures
    evaluation: Evaluation | None
    clusters: ClusterReport | None
    nights: list[NightlyReport]
    drift: DriftReport | None
    pictures: int
    no_picture: dict[str, int]
    """Class of failure -> images that gave none."""
    unread: list[str]
    """Files of other releases that were left out."""


def run(config: ReportConfig) -> TableReport:
    """Make the page. Raises `UserError` for a table, state or column that is not there, `OSError` where storage
    fails."""
    if not config.out.endswith((".html", ".htm")):
        raise UserError(f"--out {redact_uri(config.out)}: the report is a page; name a file that ends in .html")
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    # Shows its own progress, and a terminal has one live line at a time.
    compared = _compare(config)
    with Progress() as progress:
        found = _gather(config, compared, progress)
        uris = _uris_of_groups(config, found.duplicates)
        drawn = _drawn(config)
        wanted = [*drawn, *_uris_of_clusters(found.clusters), *uris.values()]
        pictures, problems = _pictures(config, wanted, progress)
        progress.phase("writing the page")
        html = table_page(found, drawn, uris, pictures, made_at).encode()
        store_bytes(html, config.out, config.storage_of_table)
    return TableReport(
        table=config.table,
        made_at=made_at,
        out=config.out,
        bytes=len(html),
        described=found.described,
        runs=found.runs,
        failures=found.failed,
        evaluation=found.evaluation,
        clusters=found.clusters,
        nights=found.nights,
        drift=found.drift,
        pictures=len(pictures),
        no_picture=problems,
        unread=found.unread,
    )


def as_text(report: TableReport) -> str:
    """What a person is told."""
    lines = [f"{redact_uri(report.out)}: {report.bytes / 2**20:.1f} MiB, {counted(report.pictures, 'picture')}"]
    lines += [f"  no picture: {count:,} {kind}" for kind, count in sorted(report.no_picture.items())]
    lines += [f"  left out, of another release: {place}" for place in report.unread]
    return "\n".join(lines)


def _read(config: ReportConfig) -> dict[str, Any]:
    return {"table": config.table, "storage": config.storage, "table_storage": config.table_storage}


def _compare(config: ReportConfig) -> DriftReport | None:
    if config.drift_from is None:
        return None
    columns = () if config.column is None else (config.column,)
    return drift.run(drift.DriftConfig(**_read(config), from_state=config.drift_from, columns=columns))


def _gather(config: ReportConfig, compared: DriftReport | None, progress: Progress) -> AboutTable:
    read = _read(config)
    progress.phase("describing the table")
    described = describe.run(describe.DescribeConfig(**read))
    stored = StoredFiles(config.stored)
    progress.phase("reading what runs have left")
    return AboutTable(
        table=redact_uri(config.table),
        described=described,
        runs=list(islice(stored.models(stored.runs(), REPORT, Report), _RUNS)),
        failed=_failures(config, read),
        evaluation=_latest(stored, "evaluate-", "evaluation.json", Evaluation),
        clusters=_latest(stored, "cluster-", "clusters.json", ClusterReport),
        nights=list(islice(stored.models(stored.called(NIGHTS), REPORT, NightlyReport), _NIGHTS)),
        drift=compared,
        duplicates=read_duplicate_groups(config.stored, _GROUPS, _OF_GROUP),
        unread=stored.unread,
    )


def _latest(stored: StoredFiles, of: str, file: str, kind: type[Stored]) -> Stored | None:
    return next(stored.models(stored.called(of), file, kind), None)


def _failures(config: ReportConfig, read: dict[str, Any]) -> failures.Failures:
    """All counted, and of each class some examples."""
    found = failures.run(failures.FailuresConfig(**read, limit=0))
    for kind in found.by_class:
        some = failures.FailuresConfig(**read, error_class=kind, limit=config.examples)
        found.rows.extend(failures.run(some).rows)
    return found


def _drawn(config: ReportConfig) -> list[str]:
    dataset = config.stored.latest()
    row_ids, _ = draw_row_ids(dataset, config.images)
    return list(dict.fromkeys(take_columns(dataset, row_ids, [URI.name])[URI.name].to_pylist()))


def _uris_of_clusters(clusters: ClusterReport | None) -> Iterable[str]:
    if clusters is None:
        return
    for each in sorted(clusters.clusters, key=lambda each: -each.size)[:SHOWN_CLUSTERS]:
        yield from (row.uri for row in each.representatives)
    yield from (row.uri for row in clusters.outliers)


def _uris_of_groups(config: ReportConfig, groups: DuplicateGroups | None) -> dict[str, str]:
    ids = [name for group in groups.largest for name in group.ids] if groups else []
    key = REGION_ID.name if groups and groups.regions else ID.name
    found = _rows_with(config, key, ids, (key, URI.name))
    return dict(zip(found[key].to_pylist(), found[URI.name].to_pylist(), strict=True))


def _rows_with(config: ReportConfig, column: str, values: Iterable[str], columns: Sequence[str]) -> pa.Table:
    """Rows by the values of a text column."""
    dataset, wanted = config.stored.latest(), list(dict.fromkeys(values))
    if not wanted:
        return dataset.scanner(columns=list(columns), limit=0).to_table()
    where = f"`{column}` IN ({', '.join(map(sql_text, wanted))})"
    batches = list(plain_scan(dataset, columns, where))
    return pa.Table.from_batches(batches, pa.schema([dataset.schema.field(name) for name in columns]))


def _pictures(config: ReportConfig, wanted: list[str], progress: Progress) -> tuple[SmallPictures, dict[str, int]]:
    pictures, uris = SmallPictures(), set(wanted if config.pictures else ())
    rows = _rows_with(config, URI.name, uris, AT)
    # What jobs have found may be of rows that have left the table since.
    gone = len(uris.difference(rows[URI.name].to_pylist()))
    problems = {"not_found": gone} if gone else {}
    if not rows.num_rows:
        return pictures, problems

    def counted(done: int, of: int) -> None:
        progress.counted(f"{done} of {of} pictures", done / of)

    made = make_jpegs(config, rows, 160, config.fetch, config.decode, counted)
    for uri, jpeg in made.jpegs.items():
        pictures.put(uri, jpeg)
    return pictures, dict(Counter(problems) + Counter(made.problems))
