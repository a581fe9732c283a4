"""A table's report as one HTML page, from what jobs have found."""

from collections.abc import Sequence
from typing import NamedTuple

from jobs.describe import Described, failures_held
from jobs.failures import Failures
from jobs.labelling.cluster_report import ClusterReport
from jobs.looking.sections import (
    SmallPictures,
    clusters_section,
    duplicates_section,
    evaluation_section,
    failures_section,
    nights_section,
    runs_section,
    table_section,
)
from jobs.nights.report import NightlyReport
from jobs.reports.drift import DriftReport
from jobs.reports.drift import as_text as drift_text
from jobs.reports.evaluation import Evaluation
from jobs.reports.page.blocks import PageBlock, PageCode, PageImages, PageSection, PageText, WebPage
from jobs.reports.page.render import render_page
from jobs.reports.run_report import Report
from operators.base.counted import counted
from operators.storage.redact import redact_uri
from pipelines.overview.duplicate_groups import DuplicateGroups
from pipelines.space.choose import IN_SWAP


class AboutTable(NamedTuple):
    """What jobs have found of a table; None for what none has."""

    table: str
    """Its name, without secrets."""
    described: Described
    runs: list[Report]
    failed: Failures
    evaluation: Evaluation | None
    clusters: ClusterReport | None
    nights: list[NightlyReport]
    drift: DriftReport | None
    duplicates: DuplicateGroups | None
    unread: list[str]


def table_page(
    found: AboutTable, drawn: Sequence[str], uris: dict[str, str], pictures: SmallPictures, made_at: str
) -> str:
    """The page. `drawn` are URIs of images at random, `uris` those of the ids in groups of duplicates."""
    sections = [
        table_section(found.described),
        *([_drawn_section(drawn, pictures)] if drawn else []),
        runs_section(found.runs),
        failures_section(found.failed),
        *([evaluation_section(found.evaluation)] if found.evaluation else []),
        *([clusters_section(found.clusters, found.described.labelled, pictures)] if found.clusters else []),
        *([duplicates_section(found.duplicates, uris, _spaces(found), pictures)] if found.duplicates else []),
        *([_drift_section(found.drift)] if found.drift else []),
        *([nights_section(found.nights)] if found.nights else []),
        _not_there(found),
    ]
    return render_page(
        WebPage(
            title=f"Report of {found.table}",
            lead=_lead(found),
            sections=[section for section in sections if section.blocks],
            footer=f"pixlake report, {made_at}.",
        )
    )


def _spaces(found: AboutTable) -> set[str]:
    """Of the columns in which vectors are searched, without the one that a swap has put aside."""
    columns = found.described.vector_columns
    return {each.space_digest for name, each in columns.items() if not name.endswith(IN_SWAP)}


def _drawn_section(uris: Sequence[str], pictures: SmallPictures) -> PageSection:
    images = [pictures.of(uri, redact_uri(uri).rpartition("/")[2]) for uri in uris]
    return PageSection(heading="Images", blocks=[PageImages(images=images, caption="Drawn at random")])


def _drift_section(found: DriftReport) -> PageSection:
    lead = "Beyond its thresholds: " + "; ".join(found.exceeded) if found.exceeded else "Within its thresholds."
    return PageSection(
        heading=f"Drift since {found.before.state}", blocks=[PageText(lead), PageCode(text=drift_text(found))]
    )


def _not_there(found: AboutTable) -> PageSection:
    """The commands that would put more on the page."""
    table = found.table
    lacking = [
        (found.evaluation, f"pixlake evaluate {table}"),
        (found.clusters, f"pixlake cluster {table}"),
        (found.duplicates, f"pixlake duplicates {table}"),
        (found.drift, f"pixlake report {table} --out FILE --drift-from TAG"),
    ]
    commands = [command for there, command in lacking if there is None]
    lines = [f"Left out, of another release: {place}" for place in found.unread]
    blocks: list[PageBlock] = [PageText("\n".join(lines))] if lines else []
    if commands:
        blocks += [PageText("These put more on the page:"), PageCode(text="\n".join(commands))]
    return PageSection(heading="Not on this page", blocks=blocks)


def _lead(found: AboutTable) -> str:
    described = found.described
    missing = sum(each.missing for each in described.manifests)
    last = f" The last run ended {found.runs[0].status}." if found.runs else ""
    models = ", ".join(sorted({each.model for each in described.vector_columns.values() if each.derived is None}))
    return (
        f"{counted(described.images, 'image')} embedded by {models or 'no model'}, {failures_held(described)}, "
        f"{counted(missing, 'row')} missing.{last}"
    )
