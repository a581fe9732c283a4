"""Mark 15: what a refresh costs beyond its start-up, over embedding the whole source anew beyond its own."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.marks.marks import Outcome
from benchmarks.marks.setting import PIXLAKE, Setting
from benchmarks.turns import timed

FEW = 20
"""Images of the source whose refresh is all start-up."""
CHANGED = 100
"""One image of so many is another one for mark 15a."""


def measure(setting: Setting, wanted: set[str]) -> dict[str, Outcome]:
    many = _Source(setting, "many", setting.sizes.refresh_rows)
    few = _Source(setting, "few", FEW)
    anew = many.embed() - few.embed()
    found: dict[str, list[float]] = {"15a": [], "15b": []}
    for _ in range(setting.sizes.rounds):
        found["15b"].append(_refresh(many, 0) - _refresh(few, 0))
        found["15a"].append(_refresh(many, len(many.files) // CHANGED) - _refresh(few, 1))
    note = f"null model, {len(many.files):,} photographs, embedded anew in {anew:.1f} s"
    return {
        name: Outcome(
            value=min(seconds) / anew,
            median=sorted(seconds)[len(seconds) // 2] / anew,
            note=note,
            figures={"anew_s": anew, "refresh_s": seconds},
        )
        for name, seconds in found.items()
    }


class _Source:
    """A folder of photographs, each with bytes of its own, and a table of it."""

    def __init__(self, setting: Setting, name: str, count: int) -> None:
        self.setting = setting
        self.folder = setting.folder / f"refreshed-{name}"
        self.folder.mkdir()
        self.name, self.table = f"refreshed-{name}", setting.table(f"refreshed-{name}")
        self.written = 0
        self.files = [self.folder / f"{number:06}.jpg" for number in range(count)]
        self.write(self.files)

    def write(self, files: Sequence[Path]) -> None:
        """Other bytes for each; what follows the end of a JPEG is no part of the image."""
        for file in files:
            self.written += 1
            photograph = self.setting.photographs[self.written % len(self.setting.photographs)]
            file.write_bytes(photograph.read_bytes() + self.written.to_bytes(8))

    def embed(self) -> float:
        return self.setting.embed(self.folder, self.name, "null").seconds


def _refresh(source: _Source, changed: int) -> float:
    source.write(source.files[:changed])
    done = timed([PIXLAKE, "refresh", source.table, "--json"])
    counts: dict[str, Any] = json.loads(done.output)["counts"]
    if (counts["changed"], counts["unchanged"]) != (changed, len(source.files) - changed):
        raise ValueError(f"{source.table}: {changed} images were changed, and the refresh found {counts}")
    return done.seconds
