"""What `pixlake drift` found: the JSON, the thresholds that it is held against, and the text for a person."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from operators.base.errors import printable, row_line


class DriftThresholds(BaseModel):
    """What may not be exceeded; null leaves a measure out. A measure exceeds its threshold where it is above what
    chance gives by more than that, and the difference is significant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    significance: float = Field(default=0.05, ge=0.01, le=0.5)
    """The chance of a false alarm, of all measures and groups together. The smaller, the longer it takes."""
    mean: float | None = Field(default=0.02, ge=0)
    """Distance of the means, in units of the vectors' spread."""
    frechet: float | None = Field(default=0.005, ge=0)
    """Squared Fréchet distance, as a share of the vectors' variance."""
    auc: float | None = Field(default=0.02, ge=0)
    """AUC of the domain classifier."""
    clusters: float | None = Field(default=0.02, ge=0)
    """Total variation of the masses of clusters: the share of the images that has moved."""
    norms: float | None = Field(default=0.05, ge=0)
    """Largest difference between the distributions of the norms."""
    failures: float | None = Field(default=0.01, ge=0)
    """By how much the share of failures has grown."""
    near_duplicates: float | None = Field(default=None, ge=0, le=1)
    """Share of what came that has a near-duplicate in what was there, whatever chance gives."""
    overlap: float | None = Field(default=None, ge=0, le=1)
    """The least neighbour overlap of images that are on both sides."""
    another_model: bool = True
    """Whether a column that has changed its space between two states counts as exceeding."""


class SideResult(BaseModel):
    """One side of the comparison."""

    table: str
    state: str
    """The tag or version that was asked for, or `latest`."""
    version: int
    column: str
    model: str
    dim: int
    rows: int
    """Rows that are not marked as deleted."""
    images_drawn: int
    """Images in the sample, each with one row."""
    nothing: int
    """Rows of the sample without a vector."""
    not_finite: int
    zeros: int
    norms: dict[str, float]
    """`mean`, `sd`, `p1`, `p50` and `p99` of the sample's norms; empty without vectors."""


class Figures(BaseModel):
    """Means and covariances of two sets of vectors compared, in all their dimensions."""

    of: str
    """`came`, or `all`."""
    vectors: tuple[int, int]
    from_sample: tuple[bool, bool]
    """Whether each is of a sample; else of all rows, summed without rounding."""
    mean_shift: float
    """Distance of the means, in units of the spread of what was there."""
    standard_errors: float | None
    """The same over what chance gives, about 1 where nothing has moved; null where the two share rows."""
    frechet: float
    """Squared Fréchet distance. It grows as the number of vectors falls below some times the dimensions."""
    frechet_share: float
    """The same as a share of the variance of what was there."""
    effective_dims: tuple[float, float]
    """How many directions the vectors use."""


class MeasureResult(BaseModel):
    """One measure of two samples."""

    name: str
    value: float
    by_chance: float
    """Its mean where the labels of the samples are dealt out at random."""
    p: float
    """The chance of a value as far above that, adjusted for all measures of the comparison."""
    threshold: float | None
    exceeded: bool


class ComparisonResult(BaseModel):
    """Two samples compared by every measure."""

    of: str
    """`came` or `all`, or a value of the group column."""
    images: tuple[int, int]
    level: float
    """p at which a measure is significant: the significance shared out to all comparisons."""
    directions: int
    auc_interval: tuple[float, float]
    """95 % confidence interval of the AUC."""
    measures: list[MeasureResult]


class GroupShare(BaseModel):
    """A value of the group column."""

    value: str
    shares: tuple[float, float]
    """Of the images of each sample."""
    tested: bool
    """False where a side has too few images."""


class AgreementResult(BaseModel):
    """What both sides agree on about the images that are on both."""

    images: int
    k: int
    overlap: float
    """Mean share of an image's k nearest on one side that are among its k nearest on the other."""
    by_chance: float
    cka: float
    """Similarity of all pairwise products: 1 for the same structure up to a rotation, about 0 for unrelated ones."""


class NearDuplicates(BaseModel):
    """Shares of images with a near-duplicate, in the samples."""

    cosine: float
    asked: int
    """Images of the later sample that were looked up."""
    before: float
    """Those with a near-duplicate in the earlier sample."""
    within: float
    """Those with another in the later sample."""
    within_before: float
    """The same among the earlier sample, to compare with."""
    of: int
    """Images in the earlier sample: what is not drawn is not found."""


class FarImage(BaseModel):
    """An image far from all that was there."""

    id: str | None
    uri: str | None
    cosine: float
    """To the nearest image of the earlier sample."""
    nearest_id: str | None
    nearest_uri: str | None


class FailureShares(BaseModel):
    """Failed images of all, by class."""

    images: tuple[int, int, int]
    """Images and failures, before, after, and of what came."""
    before: dict[str, float]
    after: dict[str, float]
    came: dict[str, float]
    p: float
    """The chance that as many or more of what came would fail, if it failed as often as the rest."""
    level: float
    exceeded: bool


class DriftReport(BaseModel):
    """The outcome of one `pixlake drift`."""

    made_at: str
    comparing: str
    """`states` of one table, two `columns`, or two `tables`."""
    before: SideResult
    after: SideResult
    same_space: bool
    differences: list[str]
    """What the two spaces differ in."""
    came: int | None
    """Rows that are new or changed between two states: those that are compared with what was there."""
    carried: int | None
    """Rows at new positions with bytes that were there already: moved, touched, copied."""
    left: int | None
    """Images whose position is no longer there: deleted, replaced or carried."""
    figures: list[Figures]
    comparisons: list[ComparisonResult]
    groups: list[GroupShare]
    agreement: AgreementResult | None
    near_duplicates: NearDuplicates | None
    farthest: list[FarImage]
    failures: FailureShares | None
    notes: list[str]
    """What was not compared, and why."""
    thresholds: DriftThresholds
    sample: int
    seed: int
    plot_file: str | None
    exceeded: list[str]
    """What exceeds its threshold, a line each."""


_ABOUT = {
    "mean": "distance of the means, in spreads",
    "frechet": "Fréchet distance, of the variance",
    "auc": "AUC of a domain classifier",
    "clusters": "mass that moved between clusters",
    "norms": "difference of the norms",
}


def as_text(report: DriftReport) -> str:
    """The sides, what came, a table for each comparison, and what exceeds its threshold."""
    lines = [_side("from", report.before), _side("to", report.after)]
    if report.came is not None:
        lines.append(
            f"came  {report.came:,} rows, new or changed; {report.carried:,} more with bytes that were there; "
            f"{report.left:,} images left their place"
        )
    if not report.same_space:
        lines += ["another space:", *(f"  {each}" for each in report.differences)]
    for figures in report.figures:
        lines.append(_figures(figures))
    for comparison in report.comparisons:
        lines += ["", *_comparison(comparison)]
    lines += ["", *_groups(report), *_beside(report)]
    lines += [f"note  {each}" for each in report.notes]
    lines += [f"plot  {report.plot_file}"] if report.plot_file else []
    lines += [f"exceeded  {each}" for each in report.exceeded] or ["nothing exceeds its threshold"]
    shown = [line for at, line in enumerate(lines) if line or (at and lines[at - 1])]
    return "\n".join(map(printable, shown))


def _side(word: str, side: SideResult) -> str:
    lacking = [f"{side.nothing:,} without a vector"] if side.nothing else []
    lacking += [f"{side.not_finite:,} not finite"] if side.not_finite else []
    lacking += [f"{side.zeros:,} zeros"] if side.zeros else []
    norms = f"; norms {side.norms['mean']:.4g} ± {side.norms['sd']:.2g}" if side.norms else ""
    return (
        f"{word:<5} {side.table}, {side.state} (version {side.version}), {side.column}: {side.model}, {side.dim}-d, "
        f"{side.rows:,} rows, {side.images_drawn:,} images drawn{''.join(f', {each}' for each in lacking)}{norms}"
    )


def _figures(figures: Figures) -> str:
    errors = "" if figures.standard_errors is None else f", {figures.standard_errors:.2f} standard errors"
    drawn = [
        f"{count:,}{' (a sample)' if some else ''}"
        for count, some in zip(figures.vectors, figures.from_sample, strict=True)
    ]
    return (
        f"{figures.of}: {drawn[1]} vectors against {drawn[0]}: Fréchet distance {figures.frechet:.4g}, "
        f"{figures.frechet_share:.2%} of the variance; mean moved by {figures.mean_shift:.4f} spreads{errors}; "
        f"effective dims {figures.effective_dims[0]:.0f}, {figures.effective_dims[1]:.0f}"
    )


def _comparison(comparison: ComparisonResult) -> list[str]:
    first, second = comparison.images
    low, high = comparison.auc_interval
    rows = [["measure", "value", "by chance", "p", "threshold", ""]]
    for each in comparison.measures:
        threshold = "" if each.threshold is None else f"+ {each.threshold:g}"
        mark = "exceeded" if each.exceeded else ""
        interval = f" ({low:.3f} to {high:.3f})" if each.name == "auc" else ""
        rows.append(
            [
                _ABOUT[each.name],
                f"{each.value:.4f}",
                f"{each.by_chance:.4f}",
                f"{each.p:.4f}",
                threshold,
                mark + interval,
            ]
        )
    head = f"{comparison.of}: {second:,} images against {first:,}; significant at p <= {comparison.level:.4g}"
    return [head, *aligned(rows)]


def _groups(report: DriftReport) -> list[str]:
    if not report.groups:
        return []
    rows = [["group", "before", "after", ""]]
    rows += [
        [each.value, f"{each.shares[0]:.1%}", f"{each.shares[1]:.1%}", "" if each.tested else "too few to test"]
        for each in report.groups
    ]
    return [*aligned(rows), ""]


def _beside(report: DriftReport) -> list[str]:
    lines = []
    if (near := report.near_duplicates) is not None:
        lines.append(
            f"near-duplicates (cosine over {near.cosine:g})  {near.before:.1%} of {near.asked:,} have one among "
            f"{near.of:,} that were there, {near.within:.1%} among each other ({near.within_before:.1%} before)"
        )
    if (both := report.agreement) is not None:
        lines.append(
            f"on both sides  {both.images:,} images: {both.overlap:.1%} of their {both.k} nearest are the same "
            f"({both.by_chance:.1%} by chance), structure (CKA) {both.cka:.3f}"
        )
    if (failed := report.failures) is not None:
        names = sorted({*failed.before, *failed.after, *failed.came})
        rows = [["failed", "before", "after", "of what came"]]
        rows += [
            [name, *(f"{share.get(name, 0):.2%}" for share in (failed.before, failed.after, failed.came))]
            for name in names
        ]
        lines += [*aligned(rows), f"failures  p {failed.p:.4g}"] if names else ["failures  none"]
    if report.farthest:
        rows = [["farthest", "cosine", "nearest of those before"]]
        rows += [
            [row_line(str(each.uri or each.id)), f"{each.cosine:.3f}", row_line(str(each.nearest_uri))]
            for each in report.farthest
        ]
        lines += ["", *aligned(rows)]
    return lines


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells below each other, all but the first and the last of a row to the right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    last = len(widths) - 1
    return [
        "  ".join(
            cell.rjust(width) if 0 < at < last else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
