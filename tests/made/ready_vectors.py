"""A table made of ready vectors, in no time: what jobs and plain lancedb do to it, and what is there."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lance
import lancedb
import numpy as np

from jobs import embed, index
from jobs.embed import EmbedConfig, Report
from made.vector_folders import write_folder
from pipelines.table.names import TableNames


def write_source(folder: Path, rows: list[int], bad: int | None = None) -> Path:
    """A file of vectors for each number of rows; every `bad`th vector of each is NaN, and becomes a failure."""
    write_folder(folder, rows)
    for path in (folder / "img_emb").iterdir() if bad else ():
        vectors = np.load(path)
        vectors[::bad] = np.nan
        np.save(path, vectors)
    return folder


@dataclass(frozen=True)
class Lake:
    """A table, and one source of it."""

    folder: Path
    source: Path

    @property
    def table(self) -> str:
        return f"{self.folder}/lake/photos"

    @property
    def names(self) -> TableNames:
        return TableNames.from_table(self.table)

    def config(self, limit: int | None = None, **settings: Any) -> EmbedConfig:
        source = {"uri": str(self.source), "vectors": {"model": "plain"}, "id_column": "key", "limit": limit}
        local = {"executor": "local", "rows_per_fragment": 64}
        # Sources have the same ids, and are to feed one table.
        return embed.load(base={"source": source, "table": self.table, "cluster": local, "again": True, **settings})

    def embed(self, limit: int | None = None, **settings: Any) -> Report:
        return embed.run(self.config(limit, **settings))

    def index(self, *scalar: str) -> None:
        asked = {"table": self.table, "scalar": scalar, "cluster": {"executor": "local"}}
        index.run(index.IndexConfig.model_validate(asked))

    def plain(self, table: str = "photos") -> Any:
        """The vector table, or `photos__failures`, as a user of LanceDB opens it."""
        return lancedb.connect(f"{self.folder}/lake").open_table(table)

    def positions(self) -> Counter[tuple[int, int]]:
        """Of both tables together, with how often each stands there."""
        held = Counter[tuple[int, int]]()
        for uri in (self.names.vectors, self.names.failures):
            table = lance.dataset(uri).to_table(columns=["shard", "row"])
            held.update(zip(table["shard"].to_pylist(), table["row"].to_pylist(), strict=True))
        return held
