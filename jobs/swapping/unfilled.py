"""How far a new column is filled, in words: how many rows have a vector, and which have none, by class."""

from collections.abc import Mapping, Sequence

from pipelines.swap.state import Swap


def unfilled_lines(swap: Swap, filled_now: int, examples: Mapping[str, Sequence[str]]) -> list[str]:
    """`examples`: class -> ids of some of its rows."""
    if not swap.rows:
        return []
    now = f", {filled_now:,} of them by this command" if filled_now else ""
    lines = [f"coverage   {swap.coverage:.4f} of {swap.rows:,} live rows have a new vector{now}"]
    for name, count in sorted(swap.unfilled.items()):
        told = ", ".join(examples.get(name, ()))
        lines.append(f"unfilled   {name}: {count:,} rows have no new vector" + (f" ({told})" if told else ""))
    if swap.coverage == 0:
        lines.append(
            "           none of the images could be had by the URIs that the table records; --source names a source "
            "that has them, by id"
        )
    return lines
