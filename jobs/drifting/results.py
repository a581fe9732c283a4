"""What was measured, as the report has it, and held against the thresholds."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from jobs.reports.drift import (
    ComparisonResult,
    DriftThresholds,
    FailureShares,
    FarImage,
    Figures,
    MeasureResult,
    NearDuplicates,
)
from pipelines.drift.compare import Compared
from pipelines.drift.failures import FailureCounts, more_failures_by_chance
from pipelines.drift.moments import effective_dim, frechet_distance, mean_shift, standard_errors
from pipelines.drift.side import Drawn
from pipelines.drift.survey import FarRow, Nearness, SummedSide, Tested


def figures_of(of: str, first: SummedSide, second: SummedSide, *, share_rows: bool) -> Figures:
    """Two sets of moments compared; `share_rows` says that rows of the one are in the other."""
    before, after = first.moments, second.moments
    distance = frechet_distance(before, after)
    return Figures(
        of=of,
        vectors=(before.rows, after.rows),
        from_sample=(first.sampled, second.sampled),
        mean_shift=mean_shift(before, after),
        standard_errors=None if share_rows else standard_errors(before, after),
        frechet=distance,
        frechet_share=distance / before.variance if before.variance else 0.0,
        effective_dims=(effective_dim(before.covariance), effective_dim(after.covariance)),
    )


def norms_of(drawn: Drawn) -> dict[str, float]:
    """Mean, standard deviation and percentiles of the norms of a sample."""
    if not len(drawn):
        return {}
    norms = np.linalg.norm(drawn.vectors.astype(np.float64), axis=1)
    low, middle, high = np.percentile(norms, [1, 50, 99])
    values = {"mean": norms.mean(), "sd": norms.std(), "p1": low, "p50": middle, "p99": high}
    return {name: float(value) for name, value in values.items()}


def comparison_results(of: str, tested: Tested, thresholds: DriftThresholds) -> list[ComparisonResult]:
    """The whole first, then each group."""
    parts = {of: (tested.images, tested.whole), **tested.groups}
    return [
        ComparisonResult(
            of=name,
            images=images,
            level=tested.level,
            directions=compared.directions,
            auc_interval=(compared.auc.low, compared.auc.high),
            measures=_measures(compared, tested.level, thresholds),
        )
        for name, (images, compared) in parts.items()
    ]


def _measures(compared: Compared, level: float, thresholds: DriftThresholds) -> list[MeasureResult]:
    results = []
    for name, found in compared.measures.items():
        threshold: float | None = getattr(thresholds, name)
        over = threshold is not None and found.value - found.by_chance > threshold
        results.append(
            MeasureResult(
                name=name,
                value=found.value,
                by_chance=found.by_chance,
                p=found.p,
                threshold=threshold,
                exceeded=over and found.p <= level,
            )
        )
    return results


def near_duplicates_of(nearness: Nearness, cosine: float, of: int) -> NearDuplicates:
    """Shares of images that have a neighbour nearer than the cosine."""
    across, within, within_before = (float((cosines > cosine).mean()) for cosines in nearness)
    return NearDuplicates(
        cosine=cosine, asked=len(nearness.across), before=across, within=within, within_before=within_before, of=of
    )


def far_images(rows: Sequence[FarRow], before: Drawn) -> list[FarImage]:
    """The rows with the ids and URIs of what is nearest to them."""
    return [
        FarImage(
            id=row.id,
            uri=row.uri,
            cosine=row.cosine,
            nearest_id=before.ids[row.nearest].as_py(),
            nearest_uri=before.uris[row.nearest].as_py(),
        )
        for row in rows
    ]


def failure_shares(
    counts: FailureCounts, vectors: tuple[int, int, int], level: float, thresholds: DriftThresholds
) -> FailureShares:
    """Shares of failures; `vectors` are the images with a vector before, after, and of what came."""
    parts = (counts.before, counts.after, counts.came)
    images = tuple(own + failed.total() for own, failed in zip(vectors, parts, strict=True))
    failed, came_failed = counts.before.total(), counts.came.total()
    p = more_failures_by_chance(failed, images[0], came_failed, images[2])
    grown = came_failed / max(images[2], 1) - failed / max(images[0], 1)
    over = thresholds.failures is not None and grown > thresholds.failures
    return FailureShares(
        images=(images[0], images[1], images[2]),
        before=_shares(counts.before, images[0]),
        after=_shares(counts.after, images[1]),
        came=_shares(counts.came, images[2]),
        p=p,
        level=level,
        exceeded=over and p <= level,
    )


def _shares(counts: Counter[str], images: int) -> dict[str, float]:
    return {name: count / images for name, count in sorted(counts.items())}


def exceeded_lines(
    comparisons: Sequence[ComparisonResult],
    failures: FailureShares | None,
    near: NearDuplicates | None,
    overlap: float | None,
    thresholds: DriftThresholds,
) -> list[str]:
    """A line for each threshold that is exceeded, but for that of another model."""
    lines = [
        f"{comparison.of}: {each.name} {each.value:.4f}, {each.by_chance:.4f} by chance (p {each.p:.4f}); "
        f"allowed is {each.threshold:g} more"
        for comparison in comparisons
        for each in comparison.measures
        if each.exceeded
    ]
    if failures is not None and failures.exceeded:
        lines.append(
            f"failures: {_sum(failures.came):.2%} of what came, {_sum(failures.before):.2%} before (p {failures.p:.4g})"
        )
    if near is not None and thresholds.near_duplicates is not None and near.before > thresholds.near_duplicates:
        lines.append(f"near-duplicates: {near.before:.1%}; allowed are {thresholds.near_duplicates:.1%}")
    if overlap is not None and thresholds.overlap is not None and overlap < thresholds.overlap:
        lines.append(f"neighbour overlap: {overlap:.1%}; {thresholds.overlap:.1%} is the least allowed")
    return lines


def _sum(shares: Mapping[str, float]) -> float:
    return sum(shares.values())
