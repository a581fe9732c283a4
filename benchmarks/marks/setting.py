"""How large the measured jobs are, and what they share: photographs, a weights file, a folder for what is written."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks import photographs
from benchmarks.end_to_end import MEMORY_ROWS, STEADY_S
from benchmarks.turns import Timed, timed

LITE = "efficientnet-lite0"
VIT = "open_clip:ViT-B-32/random-0"
PIXLAKE = str(Path(sys.executable).with_name("pixlake"))
IMPORTS = (sys.executable, "-c", "import torch, timm")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    rounds: int = 3
    """Of whole processes that take a minute."""
    short_rounds: int = 5
    """Of those that take seconds."""
    photographs: int = 320
    limit_seconds: float = STEADY_S
    """Of the runs that are held against the bare limit, at that limit."""
    memory_rows: int = MEMORY_ROWS
    kernel_images: int = 128
    kernel_rounds: int = 10
    network_rows: int = 4096
    wave_rows: int = 61_440
    refresh_rows: int = 20_000
    student_photographs: int = 320
    student_steps: int = 600
    table_rows: int = 1_000_000


SMOKE = Sizes(
    rounds=1,
    short_rounds=1,
    photographs=8,
    limit_seconds=0.05,
    memory_rows=40,
    kernel_images=4,
    kernel_rounds=1,
    network_rows=16,
    wave_rows=16,
    refresh_rows=100,
    student_photographs=32,
    student_steps=2,
    table_rows=2_000,
)
"""Every path and no figure worth reading."""


EVERY_ROW = "reuse=false"
"""Rows are the same photographs again and again: each counts for itself."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    folder: Path
    """For all that is written; deleted at the end."""
    sizes: Sizes
    images: Path | None = None
    """A folder of the user's photographs; None: cut from scikit-image's."""
    sets: tuple[str, ...] = ()
    """`--set` of every `pixlake embed`."""

    @cached_property
    def photographs(self) -> list[Path]:
        """Raises `ValueError` where there are none."""
        if self.images is not None:
            found = photographs.find(self.images)
            if not found:
                raise ValueError(f"--images {self.images}: no {', '.join(photographs.ENDINGS)} file below it")
            return found
        folder = self.folder / "photographs"
        folder.mkdir()
        return photographs.make(folder, self.sizes.photographs)

    @cached_property
    def jpegs(self) -> Path:
        """A folder of `sizes.photographs` JPEGs and nothing else, for systems that read folders."""
        folder = self.folder / "jpegs"
        folder.mkdir()
        found = [path for path in self.photographs if path.suffix.lower() in (".jpg", ".jpeg")][
            : self.sizes.photographs
        ]
        for number, path in enumerate(found):
            shutil.copyfile(path, folder / f"{number:05d}.jpg")
        return folder

    def embed(self, source: Path | str, table: str, model: str, *sets: str) -> Timed:
        """`pixlake embed`, a process as a user starts it."""
        given = [f"--set={each}" for each in (EVERY_ROW, *self.sets, *sets)]
        return timed([PIXLAKE, "embed", str(source), self.table(table), "--model", model, "--json", *given])

    def table(self, name: str) -> str:
        return f"{self.folder}/lake/{name}"


def compile_bytecode() -> None:
    """Of our own packages: where PYTHONDONTWRITEBYTECODE is set, an edited module has none and each process compiles
    it anew."""
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "operators", "pipelines", "jobs", "conf"], cwd=root, check=True
    )


def seconds_of(runs: Sequence[Timed]) -> dict[str, list[float]]:
    return {
        "seconds": [round(each.seconds, 3) for each in runs],
        "cpu_seconds": [round(each.cpu_seconds, 3) for each in runs],
    }
