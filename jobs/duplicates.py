"""`pixlake duplicates`: near-duplicate images of a table in groups, one of each to stay, and the ids of the others."""

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator, model_validator

from jobs.config.read import ClusterReadConfig
from jobs.finding.id_file import check_ending, write_ids
from jobs.finding.labelled_pairs import read_labelled_pairs
from jobs.finding.report import CalibrationResult, CoverageResult, DropChange, Duplicates, LargestGroup, as_text
from jobs.session.progress import Progress
from jobs.session.ray_cluster import fragment_tasks
from operators.base.columns import ID, REGION_ID
from operators.base.counted import counted
from operators.base.errors import UserError
from operators.base.failpoints import failpoint
from operators.storage.redact import redact_uri
from operators.vectors.apply import vector_type
from pipelines.duplicates.calibrate import calibrate, pair_cosines
from pipelines.duplicates.groups import Linkage
from pipelines.duplicates.keep import LARGEST, parse_keep
from pipelines.duplicates.members import EXACT, NEAR, members_of
from pipelines.duplicates.pairs.cells import EXACT_ROWS
from pipelines.duplicates.pairs.find import PairSearch, SearchProgress, find_pairs, request_of
from pipelines.duplicates.pairs.rows import MatchingRows
from pipelines.duplicates.pairs.work import WorkFolder
from pipelines.duplicates.result import change, drops_of, previous_drops, write_result
from pipelines.scan.live import live_rows
from pipelines.scan.where import row_filter
from pipelines.space.choose import choose_column
from pipelines.space.field import read_space
from pipelines.space.record import space_digest
from pipelines.table.layout import layout_of
from pipelines.table.table import Table

__all__ = ["Duplicates", "DuplicatesConfig", "as_text", "run"]

THRESHOLD = 0.95
PROBES = 16
_LARGEST_GROUPS = 5


class DuplicatesConfig(ClusterReadConfig):
    """What counts as a duplicate, which one stays, and where the others are written."""

    column: str | None = None
    """The vector column; default: the only one that a model fills."""
    threshold: float | None = Field(default=None, gt=0, le=1)
    """The lowest cosine of two images that are duplicates; default 0.95, which is a guess for any model."""
    calibrate: str | None = None
    """A file of labelled pairs that the threshold is chosen on instead."""
    keep: str = LARGEST
    linkage: Linkage = "leader"
    where: str | None = None
    """SQL: only rows that match are compared, kept or dropped."""
    probes: int = Field(default=PROBES, ge=1, le=1024)
    """Cells beside its own that a vector may be compared with."""
    out: str | None = None
    """A file for the ids to drop: .parquet, .csv or .txt."""

    @field_validator("out")
    @classmethod
    def _has_an_ending(cls, out: str | None) -> str | None:
        return None if out is None else check_ending(out)

    @model_validator(mode="after")
    def _one_threshold(self) -> "DuplicatesConfig":
        if self.threshold is not None and self.calibrate is not None:
            raise ValueError("give --threshold or --calibrate, not both: the pairs choose the threshold")
        return self


class _Asked(NamedTuple):
    """What is looked for in which state of the table."""

    table: Table
    dataset: Any
    column: str
    space_digest: str
    condition: str | None
    regions: bool
    """Whether a row is a region of an image."""

    @property
    def id(self) -> str:
        """The column that names a row."""
        return str(REGION_ID.name if self.regions else ID.name)


def run(config: DuplicatesConfig) -> Duplicates:
    """Find the groups and write them as `NAME__duplicates`. Raises `UserError` for what cannot be compared as asked,
    `TableError` and `OSError` where storage fails."""
    asked = _asked(config)
    keep = parse_keep(config.keep, asked.dataset.schema, config.table)
    with Progress() as progress:
        threshold, calibration = _threshold(config, asked, progress)
        progress.phase("counting rows")
        rows = MatchingRows.of(asked.table, asked.dataset, asked.condition)
        search = PairSearch(
            column=asked.column,
            space_digest=asked.space_digest,
            threshold=threshold,
            probes=config.probes,
            exact_rows=EXACT_ROWS,
            across_images=asked.regions,
        )
        work = WorkFolder.of(asked.table, request_of(rows, search))
        with fragment_tasks(config.cluster, len(rows)) as execute:
            found = find_pairs(
                rows, search, work, execute=execute, tell=SearchProgress(progress.phase, progress.counted)
            )
        progress.phase(f"grouping {counted(len(found.pairs), 'pair')}")
        members = members_of(rows, found, keep, config.linkage, asked.column)
        before, drops = previous_drops(asked.table, keep.id), drops_of(members, keep.id)
        progress.phase("writing the groups")
        if config.out is not None:
            write_ids(config.out, members.filter(members["drop"]), config.storage)
        version = write_result(asked.table, members, _made_from(asked), _how(config, asked, threshold, calibration))
        failpoint("duplicates.written")
        work.clear()
    return Duplicates(
        table=config.table,
        duplicates=asked.table.names.duplicates,
        version=version,
        table_version=int(asked.dataset.version),
        column=asked.column,
        threshold=threshold,
        guessed=config.threshold is None and calibration is None,
        calibration=calibration,
        linkage=config.linkage,
        keep=config.keep,
        rows=len(rows),
        compared=found.compared,
        without_vector=found.without_vector,
        pairs=len(found.pairs),
        same_bytes=len(rows) - found.compared - found.without_vector,
        coverage=CoverageResult.of(found.coverage),
        drop=len(drops),
        change=None if before is None else DropChange.of(change(before, drops)),
        out=None if config.out is None else redact_uri(config.out),
        regions=asked.regions,
        **_counts(members, asked.id),
    )


def _asked(config: DuplicatesConfig) -> _Asked:
    table = config.stored
    dataset = table.latest()
    column = choose_column(config.table, dataset.schema, config.column)
    layout = layout_of(dataset.schema)
    if layout == "multivector":
        raise UserError(
            f"table {config.table}: an image has all its vectors in one row, and a duplicate is like one vector; embed "
            "with regions.layout=rows, where each region is compared with those of other images, or without regions"
        )
    if layout == "rows" and config.out is not None and config.out.lower().endswith(".txt"):
        raise UserError(
            f"--out {config.out}: a .txt holds ids of images, and what is to drop are regions of them; name a .parquet "
            "or .csv"
        )
    kind = vector_type(dataset.schema.field(column).type)
    if not pa.types.is_floating(kind.value_type):
        raise UserError(
            f"table {config.table}: {column} holds codes ({kind.value_type}), and a cosine is of vectors; name the "
            "column that they were made from with --column"
        )
    record, _ = read_space(dataset.schema.field(column), config.table)
    conditions = [live_rows(dataset.schema), row_filter(dataset, config.where) if config.where is not None else None]
    condition = " AND ".join(f"({each})" for each in conditions if each is not None) or None
    return _Asked(table, dataset, column, space_digest(record), condition, layout == "rows")


def _threshold(config: DuplicatesConfig, asked: _Asked, progress: Progress) -> tuple[float, CalibrationResult | None]:
    if config.calibrate is None:
        return THRESHOLD if config.threshold is None else config.threshold, None
    progress.phase(f"calibrating on {redact_uri(config.calibrate)}")
    where = f"pairs {redact_uri(config.calibrate)}"
    pairs = read_labelled_pairs(config.calibrate, where, config.storage)
    cosines = pair_cosines(asked.dataset, asked.column, asked.id, pairs.one, pairs.other)
    known = cosines == cosines
    try:
        found = calibrate(cosines[known], pairs.duplicate[known])
    except ValueError as error:
        lost = int((~known).sum())
        but = f"; {lost:,} of {len(known):,} have an id that has no vector in the table" if lost else ""
        raise UserError(f"{where}: {error}{but}") from None
    if found.threshold <= 0:
        raise UserError(
            f"{where}: no cosine above 0 tells duplicates from others (the best threshold is {found.threshold:.4f}): "
            "the labels, or this model, do not fit"
        )
    return found.threshold, CalibrationResult.of(redact_uri(config.calibrate), found, int((~known).sum()))


def _made_from(asked: _Asked) -> dict[str, Any]:
    return {
        "vector_column": asked.column,
        "space_digest": asked.space_digest,
        "table_version": int(asked.dataset.version),
    }


def _how(config: DuplicatesConfig, asked: _Asked, threshold: float, calibration: CalibrationResult | None) -> str:
    how = {
        **_made_from(asked),
        "threshold": threshold,
        "calibration": None if calibration is None else calibration.model_dump(mode="json"),
        "linkage": config.linkage,
        "keep": config.keep,
        "where": config.where,
        "probes": config.probes,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(how)


def _counts(members: pa.Table, name: str) -> dict[str, Any]:
    """What is said of the groups."""
    kept = members[name].filter(members["kept"])
    number = members["group"].to_numpy()
    sizes = np.bincount(number)
    largest = np.argsort(-sizes, kind="stable")[:_LARGEST_GROUPS]
    exact, near = (int(pc.sum(pc.equal(members["match"], match)).as_py() or 0) for match in (EXACT, NEAR))
    return {
        "groups": len(kept),
        "exact": exact,
        "near": near,
        "shared_ids": exact + near - int(pc.sum(members["drop"]).as_py() or 0),
        "largest": [LargestGroup(kept_id=kept[at].as_py(), rows=int(sizes[at])) for at in largest.tolist()],
    }
