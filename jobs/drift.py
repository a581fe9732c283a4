"""`pixlake drift`: how the vectors of two states of a table, of two of its columns or of two tables differ."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import numpy as np
import pyarrow as pa
from pydantic import BeforeValidator, Field, model_validator

from jobs.config.read import ReadConfig
from jobs.drifting.results import (
    comparison_results,
    exceeded_lines,
    failure_shares,
    far_images,
    figures_of,
    near_duplicates_of,
    norms_of,
)
from jobs.reports.drift import (
    AgreementResult,
    DriftReport,
    DriftThresholds,
    FailureShares,
    FarImage,
    Figures,
    GroupShare,
    SideResult,
)
from jobs.reports.drift_plot import DriftPicture, draw_drift
from jobs.reports.run_report import store_bytes
from jobs.session.progress import Progress
from operators.base.errors import UserError
from pipelines.drift.arrivals import Arrivals, find_arrivals
from pipelines.drift.compare import FEWEST
from pipelines.drift.failures import FailureCounts, count_failures, count_images
from pipelines.drift.side import Drawn, Side, draw
from pipelines.drift.survey import Nearness, Survey, SurveyOptions, Tested, agreement_of_sides, summed
from pipelines.search.column import search_column
from pipelines.space.choose import choose_column
from pipelines.space.field import read_space, same_space
from pipelines.space.record import differences
from pipelines.table.table import Table
from pipelines.versions.open import failures_at, vectors_at


def _as_text(value: object) -> object:
    """What YAML takes for a date or a number is a tag or a version."""
    return None if value is None else str(value)


class DriftConfig(ReadConfig):
    """What is compared with what: two states of a table, two of its columns, or two tables."""

    from_state: Annotated[str | None, BeforeValidator(_as_text)] = None
    """A tag or the number of a version: what was there. With two columns or two tables, the state of `table`."""
    to_state: Annotated[str | None, BeforeValidator(_as_text)] = None
    """The later state; the latest unless given."""
    columns: tuple[str, ...] = Field(default=(), max_length=2)
    """One vector column, or the two that are compared."""
    with_table: str | None = None
    """Another table, to compare `table` with."""
    group: str | None = None
    """A column, or a field of a struct, for whose values all is compared too."""
    sample: int = Field(default=20_000, ge=1)
    """Rows compared a side, at most."""
    sum_rows: int = Field(default=200_000, ge=0)
    """A side with more rows is not read through for its moments; the sample's stand for them."""
    seed: int = Field(default=0, ge=0)
    near_cosine: float = Field(default=0.98, gt=-1, lt=1)
    """Images nearer than this are near-duplicates."""
    farthest: int = Field(default=10, ge=0)
    across_spaces: bool = False
    """Compare vectors of two spaces of one length as if they were of one."""
    plot: str | None = None
    """Path or URI of a PNG."""
    thresholds: DriftThresholds = DriftThresholds()

    @model_validator(mode="after")
    def _something_to_compare(self) -> "DriftConfig":
        two = len(self.columns) == 2
        if self.with_table is not None and two:
            raise ValueError("compare two columns of one table, or one column of two tables, not both at once")
        if self.with_table is None and not two and self.from_state is None:
            raise ValueError("nothing to compare with: give --from TAG, or --column twice, or --with TABLE")
        if two and self.to_state is not None:
            raise ValueError("two columns are compared in one state, that of --from; leave out --to")
        return self

    @property
    def comparing(self) -> str:
        return "tables" if self.with_table is not None else "columns" if len(self.columns) == 2 else "states"


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """A side as the user names it, and as it is read."""

    table: Table
    state: str | None
    side: Side

    @property
    def field(self) -> pa.Field:
        return self.side.dataset.schema.field(self.side.column.name)


@dataclass(frozen=True, kw_only=True)
class _Vectors:
    """What is measured within one space; nothing where the spaces differ, or a side is empty."""

    figures: list[Figures]
    tested: Tested | None
    survey: Survey | None
    nearness: Nearness | None
    farthest: list[FarImage]


def run(config: DriftConfig) -> DriftReport:
    """Compare. Raises `UserError` for a table, state, column or group that is not there, `OSError` where storage
    fails."""
    before, after = _open_both(config)
    for opened in (before, after):
        _check_group(config.group, opened)
    same, states = same_space(before.field, after.field), config.comparing == "states"
    with Progress() as progress:
        progress.phase("finding what came")
        came = find_arrivals(before.side.dataset, after.side.dataset) if states else None
        later = after.side if came is None else after.side.narrowed(came.places)
        progress.phase("drawing samples")
        # A third makes the clusters.
        first = draw(before.side, config.sample * 3 // 2, seed=config.seed, group=config.group)
        second = draw(later, config.sample, seed=config.seed, group=config.group)
        notes = _notes(config, before, after, same, first, second)
        measured = _measure(config, before.side, after.side, later, first, second, progress, possible=not notes)
        progress.phase("comparing neighbours")
        both = agreement_of_sides(before.side, first, after.side)
        failures = _failures(config, before, after, came, measured.tested)
    agreed = None if both is None else AgreementResult(**vars(both))
    survey, tested = measured.survey, measured.tested
    name = "came" if states else "all"
    comparisons = comparison_results(name, tested, config.thresholds) if tested else []
    near = near_duplicates_of(measured.nearness, config.near_cosine, len(first)) if measured.nearness else None
    exceeded = exceeded_lines(comparisons, failures, near, agreed.overlap if agreed else None, config.thresholds)
    if states and not same and config.thresholds.another_model:
        exceeded.insert(
            0,
            f"{before.side.column.name}: another model or other settings than before; compare with a tag "
            "made since: `pixlake tag` names the state that the table is in",
        )
    if survey is not None and tested is None:
        notes.append(f"a side has fewer than {FEWEST} images to test: what differs may be chance")
    report = DriftReport(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        comparing=config.comparing,
        before=_side_result(before, first),
        after=_side_result(after, second),
        same_space=same,
        differences=[] if same else _differences(before, after),
        came=None if came is None else len(came.places),
        carried=None if came is None else came.carried,
        left=None if came is None else came.left,
        figures=measured.figures,
        comparisons=comparisons,
        groups=_groups(survey, tested),
        agreement=agreed,
        near_duplicates=near,
        farthest=measured.farthest,
        failures=failures,
        notes=notes,
        thresholds=config.thresholds,
        sample=config.sample,
        seed=config.seed,
        plot_file=config.plot if survey is not None and tested is not None else None,
        exceeded=exceeded,
    )
    if report.plot_file is not None:
        store_bytes(draw_drift(_picture(report, measured)), report.plot_file, config.storage)
    return report


def _open_both(config: DriftConfig) -> tuple[_Opened, _Opened]:
    names = config.columns or (None,)
    first = _open(config, config.stored, config.from_state, names[0])
    if config.comparing == "columns":
        return first, _open(config, config.stored, config.from_state, names[-1])
    table = config.stored if config.with_table is None else Table.of(config.with_table, config.storage_of_table)
    # A column that is not named is the same on both sides, where the other one has it.
    column = names[0] or (first.side.column.name if config.with_table is None else None)
    return first, _open(config, table, config.to_state, column)


def _open(config: DriftConfig, table: Table, state: str | None, column: str | None) -> _Opened:
    dataset = vectors_at(table, state)
    name = choose_column(f"{table} at {state}" if state else str(table), dataset.schema, column)
    found = search_column(dataset.schema.field(name), config.storage_of_table, artifacts=table.artifacts)
    return _Opened(table=table, state=state, side=Side(dataset=dataset, column=found))


def _check_group(group: str | None, opened: _Opened) -> None:
    if group is None:
        return
    schema = opened.side.dataset.schema
    outer, _, inner = group.partition(".")
    kind = schema.field(outer).type if outer in schema.names else None
    if kind is not None and inner:
        kind = kind.field(inner).type if pa.types.is_struct(kind) and kind.get_field_index(inner) >= 0 else None
    if kind is None:
        raise UserError(f"table {opened.table}: --group {group}: no such column; there: {', '.join(schema.names)}")
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise UserError(f"table {opened.table}: --group {group} is {kind}; groups are texts, numbers, dates or yes/no")


def _differences(before: _Opened, after: _Opened) -> list[str]:
    there, ours = (read_space(each.field, str(each.table))[0] for each in (before, after))
    return [
        line.replace("the table has", "before").replace("this run has", "after") for line in differences(there, ours)
    ]


def _notes(config: DriftConfig, before: _Opened, after: _Opened, same: bool, first: Drawn, second: Drawn) -> list[str]:
    """Why vectors are not compared; none where they are."""
    dims = [each.side.column.codec.dim for each in (before, after)]
    if not same and not config.across_spaces:
        return [
            "the vectors are of two spaces: only what does not depend on their axes is compared, the neighbours of "
            "images that are on both sides"
        ]
    if dims[0] != dims[1]:
        return [f"vectors of {dims[0]} and of {dims[1]} numbers cannot be compared with each other"]
    if not len(second):
        return ["nothing has come" if config.comparing == "states" else f"{after.table} has no vectors to compare"]
    return [] if len(first) > 1 else [f"{before.table} had fewer than two vectors to compare with"]


def _measure(
    config: DriftConfig,
    before: Side,
    after: Side,
    later: Side,
    first: Drawn,
    second: Drawn,
    progress: Progress,
    *,
    possible: bool,
) -> _Vectors:
    if not possible:
        return _Vectors(figures=[], tested=None, survey=None, nearness=None, farthest=[])
    options = SurveyOptions(
        seed=config.seed,
        sum_rows=config.sum_rows,
        group=config.group,
        farthest=config.farthest,
        significance=config.thresholds.significance,
        other_tests=0 if config.comparing == "columns" or config.thresholds.failures is None else 1,
    )
    progress.phase("finding clusters")
    survey = Survey(first, second, options)
    progress.phase("reading vectors")
    far = survey.far_rows()
    was, came = summed(before, first, options), summed(later, second, options, far)
    if came is not None and came.sampled:
        far = survey.far_rows_of_sample()
    states = config.comparing == "states"
    pairs = [("came" if states else "all", came)]
    if states:
        pairs.append(("all", summed(after, draw(after, config.sample, seed=config.seed), options)))
    figures = [
        figures_of(of, was, each, share_rows=of == "all" and config.comparing != "tables")
        for of, each in pairs
        if was is not None and each is not None
    ]
    progress.phase("testing what may be chance")
    return _Vectors(
        figures=figures,
        tested=survey.test(),
        survey=survey,
        nearness=survey.nearness(),
        farthest=far_images(survey.farthest(far), first),
    )


def _failures(
    config: DriftConfig, before: _Opened, after: _Opened, came: Arrivals | None, tested: Tested | None
) -> FailureShares | None:
    if config.comparing == "columns":
        return None
    counts = count_failures(failures_at(before.table, before.state), failures_at(after.table, after.state))
    vectors = (count_images(before.side.dataset), count_images(after.side.dataset))
    new = vectors[1]
    if came is None:
        counts = FailureCounts(before=counts.before, after=counts.after, came=Counter(counts.after))
    else:
        new = came.images
    # Where no vectors are tested, the failures have all of it.
    level = tested.level if tested else config.thresholds.significance
    return failure_shares(counts, (*vectors, new), level, config.thresholds)


def _groups(survey: Survey | None, tested: Tested | None) -> list[GroupShare]:
    if survey is None:
        return []
    done = tested.groups if tested else {}
    return [GroupShare(value=value, shares=shares, tested=value in done) for value, shares in survey.shares.items()]


def _side_result(opened: _Opened, drawn: Drawn) -> SideResult:
    side = opened.side
    _, model = read_space(opened.field, str(opened.table))
    return SideResult(
        table=str(opened.table),
        state=opened.state or "latest",
        version=side.dataset.version,
        column=side.column.name,
        model=model.spec.name,
        dim=side.column.codec.dim,
        rows=side.rows,
        images_drawn=len(drawn),
        norms=norms_of(drawn),
        **vars(drawn.lacking),
    )


def _picture(report: DriftReport, measured: _Vectors) -> DriftPicture:
    assert measured.survey is not None
    assert measured.tested is not None
    second, near = measured.survey.samples.second, measured.nearness
    nobody = np.zeros(0)
    before, after = report.before, report.after
    return DriftPicture(
        title=f"{before.table} {before.column}, {before.state} against {after.table} {after.column}, {after.state}",
        before=measured.tested.whole.plane[~second],
        after=measured.tested.whole.plane[second],
        masses=measured.tested.whole.masses,
        cosines_before=near.within_before if near else nobody,
        cosines_after=near.across if near else nobody,
    )
