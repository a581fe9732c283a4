"""A folder of images that changes, and a table that refreshes keep to it."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lance
import numpy as np
from PIL import Image

from end_to_end.command import Ended, pixlake_here

HERE = ("--model", "null", "--set", "cluster.executor=local", "--set", "decode.isolate=false")


def picture(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


@dataclass(frozen=True)
class Lake:
    """A folder of images and a table of it."""

    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def table(self) -> str:
        return str(self.folder / "lake" / "t")

    def refresh(self, *arguments: str) -> Ended:
        return pixlake_here("refresh", self.table, "--json", *arguments)

    def counts(self, *arguments: str) -> dict[str, int]:
        """States of a refresh that must be complete, without those that no image is in."""
        ended = self.refresh(*arguments)
        assert ended.code == 0, ended.err
        assert ended.json["status"] == "complete"
        return {state: count for state, count in ended.json["counts"].items() if count}

    def rows(self, columns: list[str] | None = None) -> dict[str, dict[str, Any]]:
        """Name of the file -> its row; each must be there once."""
        rows = lance.dataset(self.table + ".lance").to_table(columns=columns and ["uri", *columns]).to_pylist()
        named = {Path(row["uri"]).name: row for row in rows}
        assert len(named) == len(rows), "an image is there twice"
        return named

    def failures(self) -> dict[str, str]:
        rows = lance.dataset(self.table + "__failures.lance").to_table().to_pylist()
        named = {Path(row["uri"]).name: row["error_class"] for row in rows}
        assert len(named) == len(rows), "a failure is there twice"
        return named

    def versions(self) -> tuple[int, int]:
        return tuple(lance.dataset(self.table + end).version for end in (".lance", "__failures.lance"))  # type: ignore[return-value]

    def vectors_are_those_made_anew(self, *settings: str, columns: tuple[str, ...] = ("vector",)) -> None:
        """Embeds the source into another table, by the same settings, and compares."""
        other = Lake(self.folder / "anew")
        shutil.rmtree(other.folder, ignore_errors=True)
        assert pixlake_here("embed", str(self.source), other.table, *HERE, *settings).code == 0
        expected = other.rows()
        found = {name: row for name, row in self.rows().items() if row.get("deleted_at") is None}
        assert found.keys() == expected.keys()
        for name, row in expected.items():
            for column in (*columns, "sha256", "etag", "size_bytes", "width", "id"):
                assert found[name][column] == row[column], (name, column)
        assert self.failures() == other.failures()


def touch(path: Path) -> None:
    os.utime(path, ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))


def change_everything(source: Path) -> None:
    """One image, or more, of each kind."""
    picture(source / "00.png", 100)
    touch(source / "01.png")
    (source / "02.png").unlink()
    (source / "03.png").rename(source / "renamed.png")
    data = (source / "04.png").read_bytes()
    (source / "04.png").unlink()
    for name in ("copied.png", "copied again.png"):
        (source / name).write_bytes(data)
    picture(source / "new.png", 101)
    (source / "05.png").write_text("it was an image")
    picture(source / "bad.png", 102)
