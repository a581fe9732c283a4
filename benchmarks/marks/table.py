"""The marks as lines for people."""

from benchmarks.marks.marks import Mark, Outcome

_WIDTHS = (4, 66, 9, 10, 9, 5)


def heading() -> str:
    return _columns("mark", "what", "wanted", "measured", "(median)", "ok")


def line(mark: Mark, outcome: Outcome | None, why: str, ok: bool) -> str:
    """One mark; below it what the figure is made of, or why there is none."""
    wanted = f"{mark.bound} {mark.wanted:g}{_unit(mark)}"
    if outcome is None:
        return f"{_columns(mark.name, mark.what, wanted, '-', '', 'no')}\n     could not be measured: {why}"
    median = "" if outcome.median is None else f"({_shown(outcome.median)}{_unit(mark)})"
    measured = f"{_shown(outcome.value)}{_unit(mark)}"
    said = "; ".join(part for part in (outcome.note, *outcome.faults) if part)
    return f"{_columns(mark.name, mark.what, wanted, measured, median, 'yes' if ok else 'no')}\n     {said}"


def _columns(*texts: str) -> str:
    return " ".join(text.ljust(width) for text, width in zip(texts, _WIDTHS, strict=True)).rstrip()


def _shown(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"


def _unit(mark: Mark) -> str:
    return f" {mark.unit}" if mark.unit else ""
