"""`pixlake describe`: what a table holds and what its vectors mean."""

import json
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel

from jobs.config.read import PastReadConfig
from jobs.reports.space_text import space_lines
from jobs.reports.stored_files import REPORT, StoredFiles
from operators.base.counted import counted
from operators.base.errors import printable
from operators.models.saved.card import ModelCard, TeacherSpace, card_if_saved
from pipelines.evaluation.ways import vector_bytes
from pipelines.filter_index.doubted import doubted_indexes
from pipelines.index.deleted_entries import may_give_deleted
from pipelines.index.records import IndexRecord, read_index_record, unindexed_rows, vector_indexes
from pipelines.ledger.accounts import Account, take_account
from pipelines.ledger.entries import ManifestEntry
from pipelines.ledger.failed_images import count_failed_images
from pipelines.ledger.takedowns import Takedowns, come_back
from pipelines.scan.live import count_marked
from pipelines.space.choose import columns_there
from pipelines.space.field import DIGEST_KEY, read_canaries, read_reduction, read_space
from pipelines.space.labelling import Labelling, describe_labellings, read_labellings
from pipelines.space.record import Record
from pipelines.space.reduction import Reduction, describe_reduction
from pipelines.space.taught import teacher_of
from pipelines.space.usable_rows import count_kinds
from pipelines.swap.side import left_over
from pipelines.swap.state import Swap, read_swap
from pipelines.table.layout import Layout, layout_of

SHOWN = ("run_id", "status", "embedded_now", "failed_now", "images_per_s")
"""Fields of a run's report that are shown."""


QUICKLY_READ = 128 << 20
"""Bytes of vectors that are read through without being asked to: 50,000 of 1,280 float16."""


class DescribeConfig(PastReadConfig):
    """Which table is described."""

    check: bool = False
    """Read through all vectors, however many, and count the rows that no search finds."""


class MadeWith(BaseModel):
    """Where the vectors of the canary images were computed when the table was made."""

    precision: str
    device: str
    versions: dict[str, str]


class DescribedColumn(BaseModel):
    """One model's vectors, or what is derived of them."""

    model: str
    saved: ModelCard | None
    """The card of a model of one's own, as it was when the table was made; None for others."""
    dim: int
    """Length of what is stored, or of what its codes stand for."""
    derived: Reduction | None
    """How a derived column is made; None for a model's own."""
    index: IndexRecord | None
    """What `pixlake index` built on it."""
    unindexed_rows: int | None
    """Rows that no index on it covers; None where there is no index."""
    deleted_in_index: bool
    """Whether the index may hold deleted rows (tombstones), which searches then mask, at a cost."""
    without_vector: int | None
    """Rows with nothing in the column; None where it was not read through."""
    without_direction: int | None
    """Rows with a vector of zeros, or with a number that is not finite: no cosine search finds them."""
    space: Record
    space_digest: str
    canaries: MadeWith | None
    """Canaries of the column's model; None where it has none: `null`, and models that a provider runs."""
    teacher: TeacherSpace | None = None
    """The model whose queries find these vectors on request (`search --by-teacher`), and what they find."""


@dataclass(frozen=True, kw_only=True)
class DescribedManifest(ManifestEntry):
    """A manifest as it is registered, and its rows as they are counted."""

    vectors: int
    failures: int
    missing: int
    """Rows in neither table that its latest run was to cover."""


class Described(BaseModel):
    """A table as it stands."""

    table: str
    version: int
    vectors: int
    """Rows of the vector table: one a region in layout `rows`, else one an image."""
    images: int
    layout: Layout | None
    """How regions are kept; None where an image has one vector a column."""
    marked_deleted: int
    """Rows of images that a refresh has marked as gone from their source: searches leave them out."""
    failures: int
    failed_images: int | None
    """Images that these are of: one that was tried through several manifests has a failure for each. None of more than
    ten million failures."""
    taken_down: int
    """Ids that `pixlake delete` has recorded."""
    stable_row_ids: bool
    """Whether the table has stable row ids, as tables of earlier releases do: `pixlake rewrite` copies one without."""
    columns: dict[str, str]
    vector_columns: dict[str, DescribedColumn]
    labelled: dict[str, Labelling]
    """Column that says which cluster or class a row is of -> how it is made."""
    manifests: list[DescribedManifest]
    indexes: list[str]
    doubted_indexes: dict[str, str]
    """Index -> why no filter is answered by it, and the command that mends it."""
    runs: list[dict[str, Any]]
    """Run id, status and rate of each stored report, oldest first."""
    swap: Swap | None
    """The last model swap, or column added, and how it stands."""
    notices: list[str]
    """What the tables hold that no manifest accounts for, a sentence each."""


def run(config: DescribeConfig) -> Described:
    """Describe the table. Raises `UserError` where there is no table, or one that Pixlake did not make; `OSError` where
    reports of its runs are there and cannot be read."""
    table = config.stored
    dataset = config.vectors
    found, layout = columns_there(config.table, dataset.schema), layout_of(dataset.schema)
    failures = config.failures
    accounts = take_account(dataset, failures)
    takedowns = Takedowns.read(table)
    # In an earlier state everything is there that was taken down since.
    back = come_back(takedowns, config.table, dataset, failures) if config.at is None else []
    swap = read_swap(dataset.metadata)
    left = left_over(table, swap) if config.at is None else None
    return Described(
        table=config.table,
        version=dataset.version,
        vectors=dataset.count_rows(),
        images=accounts.images,
        layout=layout,
        marked_deleted=count_marked(dataset),
        failures=failures.count_rows(),
        failed_images=count_failed_images(failures),
        taken_down=len(takedowns.ids),
        stable_row_ids=dataset.has_stable_row_ids or failures.has_stable_row_ids,
        columns={f.name: str(f.type) for f in dataset.schema},
        vector_columns={name: _vector_column(dataset, name, config) for name in found},
        labelled=read_labellings(dataset.schema),
        manifests=[_manifest(account) for account in accounts.manifests],
        indexes=[index.name for index in dataset.describe_indices()],
        doubted_indexes=doubted_indexes(dataset, config.table, config.storage_of_table),
        runs=_runs(config),
        swap=swap,
        notices=[*accounts.notices(), *back, *([left] if left else [])],
    )


def _manifest(account: Account) -> DescribedManifest:
    return DescribedManifest(
        **asdict(account.entry), vectors=account.vectors, failures=account.failures, missing=account.missing
    )


def _vector_column(dataset: Any, name: str, config: DescribeConfig) -> DescribedColumn:
    field = dataset.schema.field(name)
    record, model = read_space(field, config.table)
    read = config.check or dataset.count_rows() * vector_bytes(field) <= QUICKLY_READ
    kinds = count_kinds(dataset, name) if read else None
    canaries, reduction = read_canaries(field), read_reduction(field)
    return DescribedColumn(
        model=model.spec.name,
        saved=card_if_saved(model),
        dim=reduction.dim if reduction else model.dim,
        derived=reduction,
        index=read_index_record(dataset, name),
        unindexed_rows=unindexed_rows(dataset, name) if vector_indexes(dataset, name) else None,
        deleted_in_index=may_give_deleted(dataset, name),
        without_vector=kinds.nothing if kinds else None,
        without_direction=kinds.not_finite + kinds.zeros if kinds else None,
        space=record,
        space_digest=field.metadata[DIGEST_KEY].decode(),
        canaries=None if canaries is None else MadeWith(**canaries.model_dump(exclude={"vectors"})),
        teacher=teacher_of(model),
    )


def _runs(config: DescribeConfig) -> list[dict[str, Any]]:
    stored = StoredFiles(config.stored)
    found = (_report(stored.read(run_id, REPORT)) for run_id in reversed(stored.runs()))
    return [report for report in found if report is not None]


def _report(data: bytes | None) -> dict[str, Any] | None:
    """The shown fields of a report; None where a run was killed before it had one, and for what is none."""
    try:
        report = json.loads(data or b"")
    except ValueError:
        return None
    if not isinstance(report, dict) or not report.keys() >= set(SHOWN):
        return None
    return {name: report[name] for name in SHOWN}


def _held(described: Described) -> str:
    if described.layout == "multivector":
        return f"{counted(described.images, 'image')}, each with the vectors of its regions"
    if described.layout == "rows":
        return f"{counted(described.vectors, 'vector')} of the regions of {counted(described.images, 'image')}"
    return f"{counted(described.vectors, 'vector')}"


def _marked_line(described: Described) -> str:
    return (
        f"gone       {described.marked_deleted:,} of these rows are marked as deleted: their images are gone from the "
        "source, and searches leave them out"
    )


def _taken_down_line(described: Described) -> str:
    return f"deleted    {counted(described.taken_down, 'id')}, which no run brings back"


def failures_held(described: Described) -> str:
    """How many failures there are, and of how many images where these are fewer."""
    held, images = counted(described.failures, "failure"), described.failed_images
    return f"{held} of {counted(images, 'image')}" if images is not None and images < described.failures else held


def _why_failed(described: Described) -> str:
    return f" (why: pixlake failures {described.table})" if described.failures else ""


def _column_line(name: str, described: Described) -> str:
    column = described.vector_columns[name]
    if column.derived is None:
        line = f"model      {name}: {column.model}{special_settings(name, described)}, {column.dim}-d"
    else:
        line = f"derived    {name} {describe_reduction(column.derived)}, {column.dim}-d"
    if column.teacher is not None:
        line += "; searched by its teacher with search --by-teacher"
    if column.index is not None:
        line += f"; {column.index.type} finds {column.index.recall:.3f} of the nearest {column.index.k}"
    return line + (f", {counted(column.unindexed_rows, 'row')} not indexed" if column.unindexed_rows else "")


def special_settings(name: str, described: Described) -> str:
    """What the column is made with that another one of the same model is not."""
    own = described.vector_columns[name]
    others = [
        space_lines(each.space)
        for other, each in described.vector_columns.items()
        if other != name and each.derived is None and each.model == own.model
    ]
    special = [line for line in space_lines(own.space) if any(line not in lines for lines in others)]
    return f" ({', '.join(special)})" if special else ""


def _not_found(table: str, name: str, column: DescribedColumn) -> list[str]:
    """Lines on the rows that searches of the column pass over, and on what masking deleted rows costs."""
    lines = []
    if column.without_vector:
        lines.append(f"not found  {name}: {counted(column.without_vector, 'row')} without a vector")
    if column.without_direction:
        lines.append(
            f"not found  {name}: {counted(column.without_direction, 'row')} without a direction (zeros, or a number "
            "that is not finite), by no cosine search"
        )
    if column.without_vector is None:
        lines.append(f"not found  {name}: not counted, since all vectors must be read for it; --check does")
    if column.deleted_in_index:
        lines.append(
            f"to update  {name}: its index may hold deleted rows; searches leave them out, and take longer for it: "
            f"`pixlake index {table} --column {name} --update` makes it anew"
        )
    return lines


def _beside_base(column: DescribedColumn, described: Described) -> Record:
    """The part of a derived column's space that its base column, where the table has it, does not say already."""
    assert column.derived is not None
    base = described.vector_columns.get(column.derived.base)
    said = base.space if base else {}
    return {key: value for key, value in column.space.items() if said.get(key) != value}


def _manifest_line(manifest: DescribedManifest) -> str:
    line = f"manifest   {manifest.source}: {counted(manifest.rows, 'row')}, {manifest.status}, run {manifest.run_id}"
    if manifest.limit is not None:
        line += f", of the first {manifest.limit:,}"
    return line + (f", {counted(manifest.missing, 'row')} in neither table" if manifest.missing else "")


def _swap_line(swap: Swap) -> str:
    what = f"{swap.column} from {swap.old_model} to" if swap.kind == "swap" else f"{swap.column} added, of"
    line = f"swap       {swap.id}: {what} {swap.new_model}, {swap.state.replace('_', ' ')}"
    line += f", coverage {swap.coverage:.4f}" if swap.rows else ""
    passed = {None: "", True: ", gates passed", False: ", gates failed"}[swap.gates_passed]
    return line + passed + (f", flipped at {swap.flipped_at}" if swap.flipped_at else "")


class Refreshed(NamedTuple):
    """What refreshes of one source have brought in; each has made a manifest of its own."""

    source: str
    times: int
    fetched: int
    """Images whose bytes were asked for."""
    vectors: int
    """Rows that are there now by them."""
    failures: int
    last_status: str
    last_run: str


def refreshes(described: Described) -> list[Refreshed]:
    """Of each source that refreshes keep the table to."""
    deltas: dict[str, list[DescribedManifest]] = {}
    for manifest in described.manifests:
        if manifest.delta:
            deltas.setdefault(manifest.source, []).append(manifest)
    return [
        Refreshed(
            source=source,
            times=len(made),
            fetched=sum(each.rows for each in made),
            vectors=sum(each.vectors for each in made),
            failures=sum(each.failures for each in made),
            last_status=made[-1].status,
            last_run=made[-1].run_id,
        )
        for source, made in deltas.items()
    ]


def _refresh_line(found: Refreshed) -> str:
    return (
        f"refreshed  {found.source}: {counted(found.times, 'time')}, {counted(found.fetched, 'image')} fetched; the "
        f"last is {found.last_status}, run {found.last_run}"
    )


def as_text(described: Described) -> str:
    lines = [
        f"table      {described.table}, version {described.version}",
        f"rows       {_held(described)}, {failures_held(described)}{_why_failed(described)}",
        *([_marked_line(described)] if described.marked_deleted else []),
        *([_taken_down_line(described)] if described.taken_down else []),
        *(_column_line(name, described) for name in described.vector_columns),
        *(
            f"made       {name}: {each.saved.in_words()}"
            for name, each in described.vector_columns.items()
            if each.saved is not None and each.derived is None
        ),
        *(f"labelled   {names}: {how}" for names, how in describe_labellings(described.labelled)),
        *(line for name, each in described.vector_columns.items() for line in _not_found(described.table, name, each)),
        f"indexes    {', '.join(described.indexes) or 'none: searches compare with every row'}",
    ]
    lines += [] if described.swap is None else [_swap_line(described.swap)]
    lines += [f"in doubt   {name} {why}" for name, why in described.doubted_indexes.items()]
    if described.stable_row_ids:
        lines.append(
            "row ids    stable: once other tools write, Lance's indexes can give deleted rows and old values; "
            f"`pixlake rewrite {described.table} NEW_TABLE` makes a table without"
        )
    lines += [f"column     {name}: {kind}" for name, kind in described.columns.items()]
    for name, each in described.vector_columns.items():
        own = each.space if each.derived is None else _beside_base(each, described)
        lines += [f"space      {name}: {line}" for line in space_lines(own)]
        lines.append(f"digest     {name}: {each.space_digest}")
        if each.canaries is not None and each.derived is None:
            made, libraries = each.canaries, ", ".join(" ".join(item) for item in each.canaries.versions.items())
            lines.append(f"canaries   {name}: made on {made.device} in {made.precision} with {libraries}")
    lines += [_manifest_line(manifest) for manifest in described.manifests if not manifest.delta]
    lines += map(_refresh_line, refreshes(described))
    lines += [
        f"run        {r['run_id']}: {r['status']}, {counted(r['embedded_now'], 'vector')}, "
        f"{counted(r['failed_now'], 'failure')}, {r['images_per_s']:,.1f} images/s"
        for r in described.runs
    ]
    lines += [f"notice     {notice}" for notice in described.notices]
    return "\n".join(map(printable, lines))
