"""The parts of a table's report, each from what a job has found."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jobs.describe import Described, Refreshed, refreshes, special_settings
from jobs.failures import Failures
from jobs.labelling.cluster_report import ClusterReport
from jobs.nights.report import NightlyReport
from jobs.reports.evaluation import ColumnsOfModel, Evaluation, WayResult
from jobs.reports.page.blocks import (
    PageBlock,
    PageCell,
    PageFacts,
    PageImage,
    PageImages,
    PageSection,
    PageTable,
    PageText,
)
from jobs.reports.page.pictures import data_uri
from jobs.reports.page.plots import COLOURS, plot
from jobs.reports.remedies import remedy
from jobs.reports.run_report import Report
from operators.base.counted import counted
from operators.storage.redact import redact_uri
from pipelines.overview.duplicate_groups import DuplicateGroups
from pipelines.space.labelling import Labelling, describe_labellings

SHOWN_CLUSTERS = 30


class SmallPictures(dict[str, str]):
    """URI -> `data:` URI of a small picture; one that is not there shows its words alone."""

    def put(self, uri: str, jpeg: bytes) -> None:
        self[uri] = data_uri(jpeg, "image/jpeg")

    def of(self, uri: str, caption: str) -> PageImage:
        return PageImage(source=self.get(uri, ""), alt=redact_uri(uri), caption=caption)


def table_section(described: Described) -> PageSection:
    facts = [
        ("version", f"{described.version}"),
        ("images", f"{described.images:,}"),
        ("rows of vectors", f"{described.vectors:,}"),
        ("failures", f"{described.failures:,}"),
        ("images that failed", f"{described.failed_images or 0:,}"),
        ("marked as deleted", f"{described.marked_deleted:,}"),
        ("taken down", f"{described.taken_down:,}"),
        ("indexes", ", ".join(described.indexes) or "none: searches compare with every row"),
    ]
    rows = [
        (
            name,
            each.model + special_settings(name, described),
            f"{each.dim:,}",
            "the model" if each.derived is None else "derived",
            each.space_digest[:12],
        )
        for name, each in described.vector_columns.items()
    ]
    columns = ("column", "model", "dimensions", "made by", "space")
    manifests = [
        (redact_uri(each.source), f"{each.vectors:,}", f"{each.failures:,}", f"{each.missing:,}")
        for each in described.manifests
        if not each.delta
    ]
    blocks: list[PageBlock] = [
        PageFacts([fact for fact in facts if fact[1] != "0"]),
        PageTable(columns=columns, rows=rows, numbers=(2,), caption="Vectors"),
        PageTable(
            columns=("source", "vectors", "failures", "missing"), rows=manifests, numbers=(1, 2, 3), caption="Sources"
        ),
    ]
    if refreshed := refreshes(described):
        blocks += _refreshed(refreshed, described.marked_deleted)
    if described.labelled:
        made = describe_labellings(described.labelled)
        blocks.append(PageTable(columns=("columns", "made"), rows=made, caption="Clusters and classes"))
    if described.notices:
        blocks.append(PageText("\n".join(described.notices)))
    return PageSection(heading="Table", blocks=blocks)


def _refreshed(found: Sequence[Refreshed], marked: int) -> list[PageBlock]:
    rows = [
        (
            redact_uri(each.source),
            f"{each.times:,}",
            f"{each.fetched:,}",
            f"{each.vectors:,}",
            f"{each.failures:,}",
            f"{each.last_run}, {each.last_status}",
        )
        for each in found
    ]
    columns = ("source", "refreshes", "images fetched", "vectors now", "failures now", "the last")
    said = (
        "New images, and those that have changed, are counted here and no longer above: their rows take the place of "
        "earlier ones. Images that have moved, or come back, keep their vectors and are counted where they were."
    )
    if marked:
        said += (
            f" Rows that are marked as deleted ({marked:,}) are counted as vectors: their images are gone from the "
            "source, and searches leave them out; `pixlake refresh --deleted drop` deletes them."
        )
    return [PageTable(columns=columns, rows=rows, numbers=(1, 2, 3, 4), caption="Kept to by refreshes"), PageText(said)]


def runs_section(runs: Sequence[Report]) -> PageSection:
    """Runs, the latest first."""
    rows = [
        (
            run.run_id,
            run.status if run.status == "complete" else PageCell(run.status, strong=True, note=run.message),
            f"{run.embedded_now:,}",
            f"{run.failed_now:,}",
            f"{run.images_per_s:,.1f}",
            run.bound_by or "",
            f"{run.seconds:,.0f}",
            f"{run.startup_seconds:,.0f}",
        )
        for run in runs
    ]
    columns = ("run", "status", "embedded", "failed", "images/s", "bound by", "seconds", "start-up")
    worked = [run for run in reversed(runs) if run.images_per_s]
    blocks: list[PageBlock] = [PageTable(columns=columns, rows=rows, numbers=(2, 3, 4, 6, 7))]
    if len(worked) > 1:
        alt = "Images a second of each run, by what bound it"
        blocks.append(plot(lambda figure: _draw_rates(figure.subplots(), worked), alt=alt, size=(9.0, 3.2)))
    if runs:
        blocks.append(_stages(runs[0]))
    return PageSection(heading="Runs", blocks=blocks if runs else [PageText("No run has left a report.")])


def _draw_rates(panel: Any, runs: Sequence[Report]) -> None:
    bounds = list(dict.fromkeys(run.bound_by or "nothing" for run in runs))
    for number, bound in enumerate(bounds):
        of = [at for at, run in enumerate(runs) if (run.bound_by or "nothing") == bound]
        panel.bar(of, [runs[at].images_per_s for at in of], color=COLOURS[number % len(COLOURS)], label=bound)
    panel.set_xticks(range(len(runs)), [run.run_id[:8] for run in runs], rotation=45, fontsize=7)
    panel.set_ylabel("images/s")
    panel.legend(fontsize=8, title="bound by")


def _stages(run: Report) -> PageTable:
    rows = [
        (name, f"{stage.actors:,}", f"{stage.images_per_s:,.1f}", f"{stage.busy_share:.0%}", _seconds(stage.seconds))
        for name, stage in run.stages.items()
    ]
    caption = f"Stages of {run.run_id}: what each could do were it never idle, and how busy it was"
    columns = ("stage", "actors", "images/s", "busy", "seconds of its operators")
    return PageTable(columns=columns, rows=rows, numbers=(1, 2, 3), caption=caption)


def _seconds(of: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:,.1f}" for name, seconds in of.items())


def failures_section(found: Failures) -> PageSection:
    """Classes, the most frequent first, each with examples and what to do."""
    blocks: list[PageBlock] = []
    for kind, count in sorted(found.by_class.items(), key=lambda item: -item[1]):
        # An image that was tried through several manifests is shown once.
        rows = dict.fromkeys(
            (redact_uri(row["uri"] or ""), row["stage"] or "", row["error"] or "")
            for row in found.rows
            if row["error_class"] == kind
        )
        blocks.append(PageText(f"{kind}: {counted(count, 'failure')}. To do: {remedy(kind, found.refreshed)}."))
        if rows:
            blocks.append(PageTable(columns=("image", "stage", "why"), rows=list(rows)))
    return PageSection(heading="Failures", blocks=blocks or [PageText("None.")])


def evaluation_section(found: Evaluation) -> PageSection:
    blocks: list[PageBlock] = [PageText(f"Measured at {found.made_at} on version {found.version}.")]
    for group in found.models:
        columns = ("way", "bytes", *(f"recall@{k}" for k in group.ways[0].recall), "p50 ms", *_labelled(group))
        caption = f"{group.column}: {group.model}, {counted(group.rows, 'row')}, {group.queries:,} of them as queries"
        blocks.append(
            PageTable(
                columns=columns,
                rows=[_way(way) for way in group.ways],
                numbers=tuple(range(1, len(columns))),
                caption=caption,
            )
        )
    return PageSection(heading="Evaluation", blocks=blocks)


def _labelled(group: ColumnsOfModel) -> list[str]:
    return [*(f"{k}-NN" for k in group.ways[0].accuracy), "mAP"] if group.ways[0].accuracy else []


def _way(way: WayResult) -> list[str]:
    mean = way.mean_average_precision
    cells = [way.name, f"{way.bytes_per_vector:,.0f}", *(f"{share:.3f}" for share in way.recall.values())]
    cells.append("" if way.p50_ms is None else f"{way.p50_ms:,.1f}")
    if way.accuracy:
        cells += [*(f"{share:.3f}" for share in way.accuracy.values()), "" if mean is None else f"{mean:.3f}"]
    return cells


def clusters_section(found: ClusterReport, labelled: Mapping[str, Labelling], pictures: SmallPictures) -> PageSection:
    """Clusters by size with their representatives, and what is far from all of them. `labelled` are the table's columns
    as they are now: a swap may have renamed the one that was made then, or somebody dropped it."""
    by_size = sorted(found.clusters, key=lambda each: -each.size)
    blocks: list[PageBlock] = [
        PageText(
            f"{counted(found.k, 'cluster')} of {counted(found.rows, 'row')}, {counted(found.unassigned, 'row')} in "
            f"none; found at {found.made_at} on version {found.version}. {_held_now(found, labelled)}"
        )
    ]
    for each in by_size[:SHOWN_CLUSTERS]:
        cohesion = "" if each.cohesion is None else f", cohesion {each.cohesion:.3f}"
        images = [pictures.of(row.uri, f"{row.cosine:.3f}") for row in each.representatives]
        caption = f"Cluster {each.cluster}: {counted(each.size, 'row')}, {each.share:.1%}{cohesion}"
        blocks.append(PageImages(images=images, caption=caption))
    if len(by_size) > SHOWN_CLUSTERS:
        rest = by_size[SHOWN_CLUSTERS:]
        blocks.append(
            PageText(f"And {len(rest):,} smaller ones with {counted(sum(each.size for each in rest), 'row')}.")
        )
    if found.outliers:
        images = [pictures.of(row.uri, f"cluster {row.cluster}, {row.cosine:.3f}") for row in found.outliers]
        blocks.append(PageImages(images=images, caption="Farthest from the centre of their cluster"))
    return PageSection(heading="Clusters", blocks=blocks)


def _held_now(found: ClusterReport, labelled: Mapping[str, Labelling]) -> str:
    for name, each in labelled.items():
        if each.part == "cluster" and each.artifact.sha256 == found.sha256:
            return f"They are in the column {name}, of the vectors in {each.base}."
    return "No column of the table holds them now; `pixlake cluster` makes new ones."


def duplicates_section(
    found: DuplicateGroups, uris: dict[str, str], spaces: Collection[str], pictures: SmallPictures
) -> PageSection:
    """`uris` are those of the ids that are shown; `spaces` the digests of the table's vectors as they are now."""
    blocks: list[PageBlock] = [
        PageText(
            f"{counted(found.groups, 'group')} with {counted(found.rows, 'row')}; {found.drop:,} to drop if one of "
            "each stays."
        )
    ]
    if found.space_digest is not None and found.space_digest not in spaces:
        blocks.append(PageText("They are of vectors that are no longer in the table; `pixlake duplicates` looks anew."))
    for group in found.largest:
        parts = [f" region {name.rpartition('#')[2]}" if found.regions else "" for name in group.ids]
        named = zip(group.ids, parts, strict=True)
        images = [pictures.of(uris.get(name, ""), _file_name(uris, name) + part) for name, part in named]
        blocks.append(PageImages(images=images, caption=f"{counted(group.rows, 'row')}; the first one stays"))
    return PageSection(heading="Near-duplicates", blocks=blocks)


def _file_name(uris: dict[str, str], name: str) -> str:
    return redact_uri(uris.get(name, "")).rpartition("/")[2] or name


def nights_section(nights: Sequence[NightlyReport]) -> PageSection:
    rows = [
        (
            night.night,
            night.status if night.status == "complete" else PageCell(night.status, strong=True, note=night.message),
            "; ".join(f"{step.name}: {step.message or step.status}" for step in night.steps),
        )
        for night in nights
    ]
    return PageSection(heading="Nights", blocks=[PageTable(columns=("night", "status", "steps"), rows=rows)])
