"""What `pixlake classify` made and measured: the JSON that it stores, and the text for a person."""

from typing import Any

from pydantic import BaseModel

from operators.base.errors import printable

SHOWN_CLASSES = 30
SHOWN_SUSPICIOUS = 10


class MeasuredClass(BaseModel):
    """One class on the rows that were measured."""

    name: str
    rows: int
    recall: float | None
    """Share of its rows that get it; None where no row has it."""
    low: float | None
    high: float | None


class ConfusedClasses(BaseModel):
    """Rows of one label that get another class."""

    label: str
    predicted: str
    rows: int


class SuspiciousLabel(BaseModel):
    """A row whose label its neighbours do not share."""

    id: str
    uri: str
    label: str
    neighbours_say: str
    share: float
    """Of the votes of its neighbours, weighted by cosine."""


class MeasuredClasses(BaseModel):
    """What the classes are worth on rows whose label is known and that had no part in making them."""

    label: str
    """The column of labels."""
    labelled: int
    """Rows of the table that have a label; `drawn` of them were used, at most `--sample`."""
    drawn: int
    other_labels: int
    """Of the rows drawn those whose label is none of the classes, which are left out."""
    rows: int
    """Rows that were measured, of `groups` groups that stand on one side of the split."""
    groups: int
    accuracy: float
    low: float
    high: float
    largest_class: float
    """Share of the rows that the most frequent label has: what a constant answer gets right."""
    coverage: float
    """Share of the rows whose score reaches the threshold."""
    accuracy_covered: float | None
    """Accuracy among those."""
    temperature: float
    ece_before: float
    """Expected calibration error without the temperature."""
    ece: float
    classes: list[MeasuredClass]
    confusion: list[list[int]] | None
    """Rows by label (outer) and predicted class, in the order of `classes`; None for more than 100 classes."""
    confused: list[ConfusedClasses]
    """The most frequent confusions, at most 50."""
    suspicious: list[SuspiciousLabel]
    looked_at: int
    """Labelled rows whose neighbours were asked."""
    notes: list[str]


class ClassCount(BaseModel):
    name: str
    rows: int


class ClassifyReport(BaseModel):
    """The classes of a table as they are now."""

    table: str
    version: int
    made_at: str
    by: str
    column: str
    space_digest: str
    names: dict[str, str]
    """`label`, `score` and `margin` -> the column."""
    threshold: float
    asked: dict[str, Any]
    artifact: str
    sha256: str
    filled_now: int
    without_vector: int
    not_finite: int
    no_direction: int
    rows: int
    """Rows with a score, without those that are marked as deleted."""
    abstained: int
    """Of those the rows whose score is under the threshold, and that have no label."""
    unscored: int
    counts: list[ClassCount]
    """Rows by class, the most frequent first."""
    measured: MeasuredClasses | None
    """None without a column of labels."""
    seconds: float
    json_file: str


def as_text(report: ClassifyReport) -> str:
    """For a person."""
    names = report.names
    lines = [
        f"columns    {names['label']}, {names['score']} and {names['margin']}, by {report.by.replace('_', '-')}, of "
        f"{report.column}",
        f"artifact   {report.artifact}",
        f"rows       {report.filled_now:,} filled now{'' if report.filled_now else ': nothing to do'}; "
        f"{report.rows:,} live rows in all, {report.abstained:,} of them under the threshold {report.threshold:g}"
        + (f"; {report.unscored:,} without a score" if report.unscored else ""),
    ]
    if report.by == "knn":
        lines.append("           rows that come later have none: neighbours are asked once")
    lines += ["", f"{'class':30}  {'rows':>9}"]
    lines += [f"{each.name[:30]:30}  {each.rows:9,}" for each in report.counts[:SHOWN_CLASSES]]
    if len(report.counts) > SHOWN_CLASSES:
        lines.append(f"and {len(report.counts) - SHOWN_CLASSES:,} more, in {report.json_file}")
    if report.measured is not None:
        lines += ["", *_measured_lines(report.measured)]
    return "\n".join(printable(line) for line in [*lines, "", f"all of it  {report.json_file}"])


def _measured_lines(measured: MeasuredClasses) -> list[str]:
    lines = [
        f"measured   on {measured.rows:,} rows with {measured.label}, in {measured.groups:,} groups of their own",
        f"accuracy   {measured.accuracy:.4f} ({measured.low:.4f} to {measured.high:.4f}); the most frequent label "
        f"alone: {measured.largest_class:.4f}",
        f"calibrated ECE {measured.ece:.4f}, before {measured.ece_before:.4f}; temperature {measured.temperature:.4g}",
    ]
    if measured.coverage < 1 and measured.accuracy_covered is not None:
        lines.append(
            f"threshold  reached by {measured.coverage:.1%} of these, right in {measured.accuracy_covered:.4f} of them"
        )
    lines += [f"note       {each}" for each in measured.notes]
    lines += ["", f"{'class':30}  {'rows':>9}  recall"]
    for each in measured.classes[:SHOWN_CLASSES]:
        recall = "" if each.recall is None else f"{each.recall:6.4f} ({each.low:.4f} to {each.high:.4f})"
        lines.append(f"{each.name[:30]:30}  {each.rows:9,}  {recall}")
    if measured.confused:
        lines += ["", "most confused"]
        lines += [f"{each.rows:9,}  {each.label} taken for {each.predicted}" for each in measured.confused[:5]]
    if measured.suspicious:
        lines += ["", f"labels that the neighbours do not share ({len(measured.suspicious):,} listed)"]
        lines += [
            f"  {each.share:6.1%}  {'/'.join(each.uri.split('/')[-2:])}: {each.label}, neighbours say "
            f"{each.neighbours_say}"
            for each in measured.suspicious[:SHOWN_SUSPICIOUS]
        ]
    return lines
