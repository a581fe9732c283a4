"""Images of noise in a folder, a table of them by the null model, and swaps of it to the null model of other pixels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from jobs.config.load import load_config
from jobs.embed import Report, load
from jobs.embed import run as embed
from jobs.swap import SwapConfig, SwapReport
from jobs.swap import run as swap

SETTINGS = (
    "cluster.executor=local",
    "cluster.block_rows=4",
    "cluster.rows_per_fragment=4",
)
GATES = ("gates.copies=3", "gates.sample=10", "gates.max_loss=1", "gates.resamples=100")
"""Gates that images of noise pass, and that take no time."""
SQUASHED = "model.preprocess.resize=squash"


class NoisyPhotos:
    """`lake/photos` of images `0.png`, `1.png`, …, whose ids are `i0`, `i1`, …"""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = f"{folder}/lake/photos"

    def draw(self, number: int, version: int = 0) -> None:
        """An image that every way of resizing makes another vector of."""
        pixels = np.random.default_rng([number, version]).integers(0, 256, (5, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((64, 40), Image.Resampling.NEAREST).save(self.folder / f"{number}.png")

    def embed(self, numbers: Sequence[int], *sets: str, name: str = "m", **given: Any) -> Report:
        """Embed the images of a manifest `name`, drawing those that are not there."""
        for number in numbers:
            if not (self.folder / f"{number}.png").exists():
                self.draw(number)
        rows = {"id": [f"i{number}" for number in numbers], "uri": [f"{number}.png" for number in numbers]}
        manifest = str(self.folder / f"{name}.parquet")
        pq.write_table(pa.table(rows), manifest)
        base = {"source": {"uri": manifest, "id_column": "id"}, "table": self.table, **given}
        return embed(load(sets=(*SETTINGS, "decode.isolate=false", *sets), base=base))

    def embed_folder(self, *sets: str, **given: Any) -> Report:
        """Embed the folder's images by the null model, as a listing."""
        return self.embed_source({"uri": f"{self.folder}/*.png"}, *sets, **given)

    def embed_source(self, source: dict[str, Any], *sets: str, **given: Any) -> Report:
        base = {"source": source, "table": self.table, "model": {"name": "null"}, **given}
        return embed(load(sets=(*SETTINGS, "decode.isolate=false", *sets), base=base))

    def made(self, count: int, *sets: str) -> "NoisyPhotos":
        """Itself, with the table of the first images by the null model."""
        assert self.embed(range(count), *sets, model={"name": "null"}).status == "complete"
        return self

    def swap(self, *sets: str, **given: Any) -> SwapReport:
        return swap(load_config(SwapConfig, sets=(*SETTINGS, *GATES, *sets), base={"table": self.table, **given}))

    @property
    def dataset(self) -> Any:
        return lance.dataset(f"{self.table}.lance")

    def vectors(self, column: str = "vector", table: str | None = None) -> dict[str, Any]:
        """Id -> vector, None where it has none."""
        rows = lance.dataset(f"{table or self.table}.lance").to_table(columns=["id", column]).to_pylist()
        return {row["id"]: row[column] for row in rows}

    def alone(self, numbers: Sequence[int], *sets: str, name: str = "alone") -> dict[str, Any]:
        """Id -> vector, of the images in a table of their own."""
        other = NoisyPhotos(self.folder)
        other.table = f"{self.folder}/lake/{name}"
        other.embed(numbers, *sets, name=name, model={"name": "null"})
        return other.vectors()
