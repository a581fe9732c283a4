"""`pixlake drift` on parts of real photographs, embedded by a real model: more of the same, and brighter ones."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from jobs import embed
from jobs.config.load import load_config
from jobs.drift import DriftConfig, run
from jobs.reports.drift import DriftReport
from made.photographs import NAMES
from pipelines.table.table import Table
from pipelines.versions.tags import tag_state

LOCAL = {"executor": "local"}


@cache
def photograph(name: str) -> np.ndarray:
    return np.asarray(getattr(skimage.data, name)()[..., :3])


def parts(count: int, seed: int, brightness: float) -> Iterator[Image.Image]:
    """Random squares of the photographs, half as high."""
    random = np.random.default_rng(seed)
    for at in range(count):
        whole = photograph(NAMES[at % len(NAMES)])
        side = whole.shape[0] // 2
        top, left = (random.integers(0, size - side) for size in whole.shape[:2])
        square = whole[top : top + side, left : left + side]
        yield Image.fromarray(np.clip(square * brightness, 0, 255).astype(np.uint8))


def add(folder: Path, name: str, count: int, seed: int, brightness: float = 1.0) -> None:
    """Write the parts to a folder of their own, embed them, and tag the table with its name."""
    source = folder / name
    source.mkdir()
    for at, image in enumerate(parts(count, seed, brightness)):
        image.save(source / f"{name}-{at}.png")
    table = str(folder / "lake" / "photos")
    base = {"source": {"uri": str(source)}, "table": table, "cluster": LOCAL, "model": {"name": "efficientnet-lite0"}}
    embed.run(embed.load(base={**base, "decode": {"isolate": False}}))
    tag_state(Table.of(table), name)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("drift")
    add(folder, "first", 60, 0)
    add(folder, "same", 60, 1)
    add(folder, "bright", 80, 2, brightness=1.8)
    return str(folder / "lake" / "photos")


def drift(table: str, before: str, after: str, **given: object) -> DriftReport:
    base = {"table": table, "from_state": before, "to_state": after, **given}
    return run(load_config(DriftConfig, base=base))


def test_more_parts_of_the_same_photographs_do_not_differ(table: str) -> None:
    report = drift(table, "first", "same")
    assert (report.came, report.after.model) == (60, "efficientnet-lite0")
    assert report.exceeded == []


def test_brighter_photographs_differ(table: str) -> None:
    report = drift(table, "same", "bright")
    assert report.came == 80
    assert report.exceeded
    assert report.comparisons[0].auc_interval[0] > 0.5
