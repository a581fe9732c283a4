"""How far a new column is filled, in words: how many rows have a vector, and which have none, by class."""

from collections.abc import Mapping, Sequence

from operators.base.counted import counted
from pipelines.swap.state import Swap


def unfilled_lines(swap: Swap, filled_now: int, examples: Mapping[str, Sequence[str]]) -> list[str]:
    """`examples`: class -> ids of some of its rows."""
    if not swap.rows:
        return []
    now = f", {filled_now:,} of them by this command" if filled_now else ""
    of = counted(swap.rows, "live row has", "live rows have")
    lines = [f"coverage   {swap.coverage:.4f} of {of} a new vector{now}"]
    for name, count in sorted(swap.unfilled.items()):
        told = ", ".join(examples.get(name, ()))
        none = counted(count, "row has", "rows have")
        lines.append(f"unfilled   {name}: {none} no new vector" + (f" ({told})" if told else ""))
    if swap.coverage == 0:
        lines.append(
            "           none of the images could be had by the URIs that the table records; --source names a source "
            "that has them, by id"
        )
    return lines
