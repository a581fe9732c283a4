"""What must hold before a new vector column takes the place of an old one, and what was measured of it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

QUALITY = "quality"
"""What the names of the gates that compare new and old by a task begin with: `quality.knn_accuracy`."""


class GateConfig(BaseModel):
    """Thresholds, and what quality is measured by: labels, queries or, where neither is given, copies of images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_coverage: float = Field(default=0.99, ge=0, le=1)
    """Least share of the live rows that have a vector in the new column. An image that is gone counts against it."""
    max_not_finite: float = Field(default=0.0, ge=0, le=1)
    """Most of the vectors that may have a NaN, an infinity or zeros alone."""
    norm_tolerance: float = Field(default=0.01, gt=0)
    """How far from 1 the length of a vector may be; float16 alone takes it off by up to 0.0005."""
    max_off_norm: float = Field(default=0.001, ge=0, le=1)
    """Most of the vectors that may be further off."""
    max_constant: float = Field(default=0.1, ge=0, le=1)
    """Most of the numbers of a vector that may be the same in every row."""
    max_more_duplicates: float = Field(default=0.01, ge=0, le=1)
    """How much larger than in the old column the share of rows may be that have the vector of another image."""
    min_index_recall: float | None = Field(default=None, gt=0, le=1)
    """Least index recall@10; default: what the index was built for."""
    label: str | None = None
    """A column with labels, or a field of a struct such as `region.label`."""
    queries: str | None = None
    """Path or URI of a Parquet file with columns `text` or `image` (a path or URI), and `ids`: the right images."""
    max_loss: float = Field(default=0.02, ge=0, le=1)
    """Largest loss in a measure of quality that is let pass whatever the confidence."""
    sample: int = Field(default=200, ge=1)
    """Rows of the table that serve as queries for labels, overlap and index recall; the same rows each time."""
    copies: int = Field(default=50, ge=1)
    """Images of which copies are made, where neither labels nor queries are given: three copies each."""
    resamples: int = Field(default=2000, ge=100)
    """Resamples of the bootstrap."""
    seed: int = Field(default=0, ge=0)
    required: tuple[str, ...] = ("coverage", "finite", "duplicates", QUALITY)
    """Gates that must have been measured: one of them that cannot be has failed. `quality` stands for any of its
    kind."""


class Gate(BaseModel):
    """One measure of the new column, beside the same of the old one."""

    name: str
    """`coverage`, `canaries`, `finite`, `norms`, `constant`, `duplicates`, `index_recall`, `quality.*`, `overlap`."""
    old: float | None = None
    """The old column's value; None where it has none."""
    new: float | None = None
    threshold: float | None = None
    """What `new` is held against; None where it is only shown."""
    bound: Literal["at least", "at most", "may lose"] | None = None
    """How: `new` is to be at least or at most `threshold`, or may be below `old` by so much."""
    passed: bool | None
    """None where it was not measured, or is only shown."""
    how: str
    """How it was measured or, where it was not, why."""
    rows: int = 0
    """Rows, queries or images that it was measured on."""
    difference: float | None = None
    """New less old; quality alone."""
    low: float | None = None
    """Lower and upper end of the 95 % bootstrap interval of the difference."""
    high: float | None = None


class GateReport(BaseModel):
    """All gates of one swap."""

    table: str
    version: int
    """Version of the table that was measured."""
    old: str
    """Name of the column that searches use now."""
    new: str
    made_at: str
    gates: list[Gate]
    failed: list[str]
    """Names of gates that failed, and of those that were required and not measured."""

    @property
    def passed(self) -> bool:
        return not self.failed


def failed_gates(gates: list[Gate], required: tuple[str, ...]) -> list[str]:
    """The names of gates that stand in the way: those that failed, and required ones of which none was measured."""
    measured = {gate.name.partition(".")[0] for gate in gates if gate.passed is not None}
    return [gate.name for gate in gates if gate.passed is False] + [name for name in required if name not in measured]


def as_text(report: GateReport) -> str:
    """A line a gate: whether it passed, its values, and how they were measured."""
    lines = [f"gates of {report.table}, version {report.version}: {report.new} in place of {report.old}"]
    width = max(len(gate.name) for gate in report.gates)
    for gate in report.gates:
        lines.append(f"{_verdict(gate, report.failed):13} {gate.name:{width}}  {_values(gate)}{gate.how}")
    verdict = f"failed: {', '.join(report.failed)}" if report.failed else "all gates that count have passed"
    return "\n".join([*lines, verdict])


def _verdict(gate: Gate, failed: list[str]) -> str:
    if gate.passed is not None:
        return "passed" if gate.passed else "FAILED"
    if gate.new is not None:
        return "shown"
    return "NOT MEASURED" if {gate.name, gate.name.partition(".")[0]} & set(failed) else "not measured"


def _values(gate: Gate) -> str:
    if gate.new is None:
        return ""
    old = "" if gate.old is None else f"{gate.old:.4f} -> "
    held = "" if gate.threshold is None else f" ({gate.bound} {gate.threshold:g})"
    interval = "" if gate.low is None else f", {gate.difference:+.4f} [{gate.low:+.4f}, {gate.high:+.4f}]"
    return f"{old}{gate.new:.4f}{interval}{held}: "
