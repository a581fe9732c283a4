"""Marks 7, 8 and 10: commands as a user starts them, over `python -c "import torch, timm"`."""

import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.marks.marks import Outcome
from benchmarks.marks.setting import IMPORTS, LITE, PIXLAKE, Setting, seconds_of
from benchmarks.turns import Timed, in_turn, ratio, timed


def measure_one_photograph(setting: Setting, wanted: set[str]) -> dict[str, Outcome]:
    numbers = count()
    ours = partial(_embed_next, setting, numbers)
    return {"7": _over_imports(setting, ours, setting.sizes.short_rounds)}


def _embed_next(setting: Setting, numbers: "count[int]") -> Timed:
    return setting.embed(setting.photographs[0], f"one-{next(numbers)}", LITE)


def measure_demo(setting: Setting, wanted: set[str]) -> dict[str, Outcome]:
    """Its folder is made where it is started."""
    folder = setting.folder / "demo-run"
    folder.mkdir()
    return {"10": _over_imports(setting, lambda: timed([sys.executable, "-m", "jobs.demo"], folder=folder), 1)}


def measure_search(setting: Setting, wanted: set[str]) -> dict[str, Outcome]:
    setting.embed(setting.jpegs, "searched", LITE)
    table, image = setting.table("searched"), str(setting.photographs[0])
    outcomes = {}
    if "8a" in wanted:
        ours = partial(timed, [PIXLAKE, "search", table, "--image", image, "--json"])
        outcomes["8a"] = _over_imports(setting, ours, setting.sizes.short_rounds)
    if "8b" in wanted:
        outcomes["8b"] = _second_query(table, image)
    return outcomes


def _second_query(table: str, image: str) -> Outcome:
    from benchmarks.marks.second_query import ask_again

    found = ask_again(table, image)
    first, later, forward = (1000 * each for each in (found["first_s"], min(found["later_s"]), found["forward_s"]))
    note = f"{later:.0f} ms, {forward:.0f} of them the forward pass; the first {first:.0f} ms"
    return Outcome(value=later - forward, note=note, figures=found)


def _over_imports(setting: Setting, ours: Callable[[], Timed], rounds: int) -> Outcome:
    runs = in_turn({"ours": ours, "imports": lambda: timed(IMPORTS)}, rounds)
    found = ratio(*([each.seconds for each in runs[side]] for side in ("ours", "imports")))
    fastest = {side: min(each.seconds for each in of_side) for side, of_side in runs.items()}
    return Outcome(
        value=found.best,
        median=found.median,
        note=f"{fastest['ours']:.2f} and {fastest['imports']:.2f} s",
        faults=_without_bytecode(),
        figures={side: seconds_of(of_side) for side, of_side in runs.items()},
    )


def _without_bytecode() -> tuple[str, ...]:
    import importlib.util

    found = importlib.util.find_spec("timm")
    compiled = found is not None and found.cached is not None and Path(found.cached).exists()
    return () if compiled else ("the bytecode of timm is not compiled: make setup",)
