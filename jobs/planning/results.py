"""What `pixlake plan` expects of a job: the JSON that it prints, and the text for a person."""

from pydantic import BaseModel

from jobs.session.progress import duration
from operators.base.counted import counted


class Expected(BaseModel):
    """An estimate and its range."""

    value: float
    low: float
    high: float


class StagePace(BaseModel):
    """What one part of the work could do alone on this machine."""

    images_per_s: float | None
    """None where it takes no time that could be measured."""
    binds: bool


class Start(BaseModel):
    """What a run takes once, however many rows there are. It is in the hours."""

    seconds: float
    core_seconds: float | None


class IndexPlan(BaseModel):
    """The first index that `pixlake index` would try; none where comparing with every row is fast enough."""

    column: str
    type: str | None
    bytes: float
    core_hours: Expected | None
    """From the arithmetic of k-means and assignment, and what this machine multiplies a second."""


class CostPlan(BaseModel):
    """What the whole job is expected to take on a machine like this one."""

    source: str
    rows: int
    counted: bool
    """False where `rows` was given rather than counted."""
    tried: int
    """Rows that went through the whole job here."""
    executor: str
    cores: int
    device: str
    images_per_s: Expected
    stages: dict[str, StagePace]
    bound_by: str
    hours: Expected
    """By the clock, start included."""
    core_hours: Expected | None
    """CPU time of all processes, start included."""
    start: Start
    gpu_hours: Expected | None
    cost: Expected | None
    price: float | None
    requests: Expected
    """GETs of images, retries included."""
    bytes_read: Expected
    bytes_written: Expected
    """Of the table, which is what it then takes on disk."""
    failures: Expected
    indexes: list[IndexPlan]


def as_text(plan: CostPlan) -> str:
    """The plan for a person."""
    rows = counted(plan.rows, "row") + ("" if plan.counted else " (as given, not counted)")
    stages = ", ".join(
        f"{name} {each.images_per_s:,.1f}{' (binds)' if each.binds else ''}"
        for name, each in plan.stages.items()
        if each.images_per_s is not None
    )
    lines = [
        f"source     {plan.source}, {rows}; {plan.tried:,} of them drawn and tried here",
        f"machine    {plan.cores} cores, {plan.device}, executor {plan.executor}",
        f"pace       {_ranged(plan.images_per_s, '{:,.1f}')} images/s, bound by {plan.bound_by}",
        f"stages     images/s of each alone: {stages}",
        f"time       {_times(plan.hours)}, {duration(plan.start.seconds)} of it before the first image",
    ]
    if plan.core_hours is not None:
        lines.append(f"CPU        {_times(plan.core_hours)} of one core")
    if plan.gpu_hours is not None:
        lines.append(f"GPU        {_times(plan.gpu_hours)}")
    if plan.cost is not None:
        lines.append(f"cost       {_ranged(plan.cost, '{:,.2f}')}, at {plan.price:g} an hour")
    lines += [
        f"GETs       {_ranged(plan.requests, '{:,.0f}')}",
        f"read       {_sizes(plan.bytes_read)}",
        f"written    {_sizes(plan.bytes_written)}, which the table takes",
        f"failures   {_ranged(plan.failures, '{:,.0f}')} rows",
    ]
    return "\n".join([*lines, *map(_index_line, plan.indexes)])


def _index_line(index: IndexPlan) -> str:
    if index.type is None:
        return f"index      {index.column}: none is needed, comparing with every row is fast enough"
    taken = "" if index.core_hours is None else f", {_times(index.core_hours)} of one core"
    return f"index      {index.column}: {index.type}, about {_size(index.bytes)}{taken}"


def _ranged(each: Expected, form: str) -> str:
    value, low, high = (form.format(number) for number in (each.value, each.low, each.high))
    return value if low == high else f"{value} ({low} to {high})"


def _times(hours: Expected) -> str:
    value, low, high = (duration(3600 * number) for number in (hours.value, hours.low, hours.high))
    return f"{value} ({low} to {high})"


def _sizes(each: Expected) -> str:
    value, low, high = map(_size, (each.value, each.low, each.high))
    return value if low == high else f"{value} ({low} to {high})"


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
