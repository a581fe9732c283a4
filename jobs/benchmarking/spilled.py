"""Decoded images on local disk: each is decoded once, and every model reads it from there."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa


class SpilledBlocks:
    """Tables in files of their own, mapped into memory when they are read: one block is in memory at a time."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self.blocks = 0
        self.rows = 0

    def add(self, block: pa.Table) -> None:
        with pa.OSFile(str(self._path(self.blocks)), "wb") as file, pa.ipc.new_file(file, block.schema) as writer:
            writer.write_table(block)
        self.blocks += 1
        self.rows += block.num_rows

    def read(self, columns: list[str], limit: int | None = None) -> Iterator[pa.Table]:
        """The blocks with these columns, up to `limit` rows."""
        left = self.rows if limit is None else limit
        for at in range(self.blocks):
            if left <= 0:
                return
            with pa.memory_map(str(self._path(at))) as file:
                block = pa.ipc.open_file(file).read_all().select(columns)[:left]
                yield block
            left -= block.num_rows

    def _path(self, block: int) -> Path:
        return self._folder / f"{self._name}-{block}.arrow"
