"""What a search for duplicates has found, and the same in words."""

from pydantic import BaseModel

from operators.base.counted import counted
from operators.base.errors import printable
from pipelines.duplicates.calibrate import Calibration, wilson
from pipelines.duplicates.pairs.find import Coverage
from pipelines.duplicates.result import Change

LOW_RECALL = 0.99


class CalibrationResult(BaseModel):
    """The threshold that labelled pairs gave, and how it does on them."""

    pairs_file: str
    duplicates: int
    others: int
    not_there: int
    """Pairs left out: the table has no vector under one of their ids."""
    precision: float
    """Share of duplicates among the pairs at or above the threshold."""
    precision_interval: tuple[float, float]
    """95 % (Wilson), as if the pairs were drawn at random from those that the threshold will meet."""
    recall: float
    """Share of the duplicates that are at or above it."""
    recall_interval: tuple[float, float]

    @classmethod
    def of(cls, pairs_file: str, found: Calibration, not_there: int) -> "CalibrationResult":
        above = found.true_positives + found.false_positives
        return cls(
            pairs_file=pairs_file,
            duplicates=found.positives,
            others=found.negatives,
            not_there=not_there,
            precision=found.precision,
            precision_interval=wilson(found.true_positives, above),
            recall=found.recall,
            recall_interval=wilson(found.true_positives, found.positives),
        )


class CoverageResult(BaseModel):
    """How much of what is alike was found."""

    exact: bool
    """All vectors were compared with all."""
    sample_rows: int
    sample_pairs: int
    """Pairs at or above the threshold of a row of the sample and any row, by comparing with all."""
    found: int
    recall: float | None
    """Share of these that were found; None where the sample has none."""
    interval: tuple[float, float]
    """95 % (Wilson)."""

    @classmethod
    def of(cls, found: Coverage) -> "CoverageResult":
        exact = not found.rows
        recall = 1.0 if exact else found.found / found.pairs if found.pairs else None
        interval = (1.0, 1.0) if exact else wilson(found.found, found.pairs)
        return cls(
            exact=exact,
            sample_rows=found.rows,
            sample_pairs=found.pairs,
            found=found.found,
            recall=recall,
            interval=interval,
        )


class LargestGroup(BaseModel):
    """A group by the image that stays."""

    kept_id: str
    rows: int


class DropChange(BaseModel):
    """How the ids to drop differ from those of the run before."""

    before: int
    new: int
    no_longer: int

    @classmethod
    def of(cls, found: Change) -> "DropChange":
        return cls(before=found.before, new=found.new, no_longer=found.no_longer)


class Duplicates(BaseModel):
    """The outcome of one `pixlake duplicates`."""

    table: str
    duplicates: str
    """URI of the table with the groups."""
    version: int
    """Its version."""
    table_version: int
    """Version of the vector table that was compared."""
    column: str
    threshold: float
    """The lowest cosine of a near-duplicate."""
    guessed: bool
    """Whether the threshold is the default, which nobody has held against images."""
    calibration: CalibrationResult | None
    linkage: str
    keep: str
    regions: bool
    """Whether rows are regions: ids are then `region_id`, and none is a duplicate of another of its own image."""
    rows: int
    """Rows that were looked at."""
    compared: int
    """Those with a vector, one for each sha256."""
    without_vector: int
    pairs: int
    """Pairs at or above the threshold, of different vectors."""
    coverage: CoverageResult
    same_bytes: int
    """Rows with the sha256 of an earlier row, which stands for them."""
    groups: int
    exact: int
    """Rows that do not stay and have the bytes of the one that does."""
    near: int
    """Other rows that do not stay."""
    drop: int
    """Ids to drop."""
    shared_ids: int
    """Rows that do not stay and cannot be dropped: a row of the same id stays."""
    largest: list[LargestGroup]
    change: DropChange | None
    """None where there was no table of duplicates."""
    out: str | None


def as_text(found: Duplicates) -> str:
    """A few lines for a person, and what to do next."""
    lines = [
        f"{found.table}: {counted(found.groups, 'group')} of duplicates among {_rows(found)}",
        f"alike      cosine of {found.column} at least {found.threshold:.6g}{_trusted(found)}",
        *_calibrated(found.calibration),
        f"found      {counted(found.pairs, 'pair')}, {counted(found.same_bytes, 'row')} with the "
        f"bytes{_and_box(found)} of "
        f"another; {_covered(found.coverage, _one(found))}",
        f"to drop    {counted(found.drop, 'id')}: {counted(found.exact, 'row')} with the bytes{_and_box(found)} of the "
        f"{_one(found)} that stays, {found.near:,} nearly like it",
        f"stays      {_stays(found)}",
    ]
    if found.shared_ids:
        lines.append(
            f"           {counted(found.shared_ids, 'row')} cannot be dropped by id: another row of the same id stays"
        )
    if found.without_vector:
        lines.append(f"left out   {counted(found.without_vector, 'row')} without a vector that has a direction")
    if found.largest:
        shown = ", ".join(f"{each.rows:,} ({each.kept_id} stays)" for each in found.largest)
        lines.append(f"largest    {shown}")
    if found.change is not None:
        was = found.change
        new = counted(was.new, "id to drop is", "ids to drop are")
        lines.append(f"since last {new} new, {was.no_longer:,} of {was.before:,} are no longer")
    lines.append(f"table      {found.duplicates}, version {found.version}")
    lines += _next(found)
    return "\n".join(map(printable, lines))


def _rows(found: Duplicates) -> str:
    return counted(found.rows, "region" if found.regions else "row")


def _and_box(found: Duplicates) -> str:
    return " and the box" if found.regions else ""


def _one(found: Duplicates) -> str:
    return "region" if found.regions else "image"


def _trusted(found: Duplicates) -> str:
    if not found.guessed:
        return ""
    look = f"look at the groups (`pixlake serve {found.table}`), or --calibrate it on pairs of yours"
    return f": a guess for this model; {look}"


def _calibrated(found: CalibrationResult | None) -> list[str]:
    if found is None:
        return []
    precision, recall = (
        f"{share:.3f} ({low:.3f} to {high:.3f})"
        for share, (low, high) in (
            (found.precision, found.precision_interval),
            (found.recall, found.recall_interval),
        )
    )
    lines = [
        f"           on {counted(found.duplicates, 'pair')} of duplicates and {counted(found.others, 'other')} in "
        f"{found.pairs_file}: "
        f"precision {precision}, recall {recall}"
    ]
    if found.not_there:
        lines.append(f"           {counted(found.not_there, 'pair')} left out: an id has no vector in the table")
    return lines


def _covered(found: CoverageResult, one: str) -> str:
    if found.exact:
        return f"every {one} was compared with every other{'' if one == 'image' else ' of another image'}"
    if found.recall is None:
        return f"none was missed of {counted(found.sample_rows, 'row')} that were compared with all, but they have none"
    low, high = found.interval
    text = (
        f"recall {found.recall:.4f} ({low:.4f} to {high:.4f}), measured on the {counted(found.sample_pairs, 'pair')} "
        f"of {counted(found.sample_rows, 'row')} compared with all"
    )
    return text if found.recall >= LOW_RECALL else f"{text}; --probes finds more, and takes longer"


def _stays(found: Duplicates) -> str:
    if found.linkage == "leader":
        return f"one of each group, by --keep {found.keep}; all others are alike to it"
    return f"one of each group, by --keep {found.keep}; others may be alike to it only by a chain"


def _next(found: Duplicates) -> list[str]:
    if not found.drop:
        return []
    if found.out is None:
        return [f"next       pixlake duplicates {found.table} … --out drop.parquet writes the ids"]
    whole = " --whole-images" if found.regions else ""
    return [f"next       pixlake delete {found.table} --ids {found.out}{whole} --dry-run"]
