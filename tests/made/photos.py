"""Photographs of one colour each, embedded by the job itself, and tables hurt by plain lancedb."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lance
import lancedb
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from jobs.embed import EmbedConfig, Report, load, run

SETTINGS = (
    "source.id_column=id",
    "cluster.executor=local",
    "decode.isolate=false",
    "cluster.block_rows=5",
    "cluster.rows_per_fragment=5",
)


class Photos:
    """A folder with numbered images, manifests of some of them, and the table `lake/photos`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = f"{folder}/lake/photos"

    def manifest(self, numbers: Sequence[int], name: str = "m.parquet", missing: Sequence[int] = ()) -> str:
        """Rows in the order of `numbers`, ids `i<number>`, row groups of ten; of those `missing` there is no image."""
        for number in numbers:
            path = self.folder / f"{number}.png"
            if number not in missing and not path.exists():
                Image.new("RGB", (8, 8), (number % 256, 7 * number % 256, 90)).save(path)
        rows = {"id": [f"i{number}" for number in numbers], "uri": [f"{number}.png" for number in numbers]}
        pq.write_table(pa.table(rows), self.folder / name, row_group_size=10)
        return str(self.folder / name)

    def config(self, manifest: str, *sets: str, **given: Any) -> EmbedConfig:
        source = {"uri": manifest, "limit": given.pop("limit", None)}
        base = {"source": source, "table": self.table, "model": {"name": "null"}, **given}
        return load(sets=(*SETTINGS, *sets), base=base)

    def embed(self, manifest: str, *sets: str, **given: Any) -> Report:
        return run(self.config(manifest, *sets, **given))

    @property
    def plain(self) -> Any:
        """The vector table, as plain lancedb opens it."""
        return self.open("photos")

    def open(self, name: str) -> Any:
        return lancedb.connect(f"{self.folder}/lake").open_table(name)

    def ids(self) -> list[str]:
        """Of the vector table, by number."""
        ids = lance.dataset(f"{self.table}.lance").to_table(columns=["id"])["id"].to_pylist()
        return sorted(ids, key=lambda each: int(each[1:]))


def ids_of(numbers: Sequence[int]) -> list[str]:
    return [f"i{number}" for number in numbers]
