"""What plain Lance can do to a table: each kind of damage that an audit is to find."""

from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa


class Damaged:
    """The two tables of one name, changed behind Pixlake's back."""

    def __init__(self, table: str) -> None:
        self.table = table
        self.vectors, self.failures = f"{table}.lance", f"{table}__failures.lance"

    def rows(self, where: str, of: str | None = None) -> pa.Table:
        return lance.dataset(of or self.vectors).to_table(filter=where)

    def delete(self, where: str) -> None:
        lance.dataset(self.vectors).delete(where)

    def append(self, rows: pa.Table, to: str | None = None) -> None:
        lance.write_dataset(rows, to or self.vectors, mode="append")

    def again(self, where: str, **values: Any) -> None:
        """More rows, as those that match, with other values."""
        self.append(_with(self.rows(where), values))

    def instead(self, where: str, **values: Any) -> None:
        """Other rows in place of those that match."""
        rows = _with(self.rows(where), values)
        self.delete(where)
        self.append(rows)

    def fail(self, where: str) -> None:
        """A failure for each row that matches, beside it."""
        rows, schema = self.rows(where), lance.dataset(self.failures).schema
        columns = {name: rows[name] for name in ("id", "uri", "shard", "row")}
        nulls = {field.name: pa.nulls(len(rows), field.type) for field in schema}
        self.append(pa.table({**nulls, **columns}).select(schema.names).cast(schema), self.failures)

    def data_files(self) -> list[Path]:
        """Of the fragments, in their order."""
        fragments = lance.dataset(self.vectors).get_fragments()
        return [Path(self.vectors) / "data" / file.path for each in fragments for file in each.metadata.files]

    def held(self) -> dict[str, list[float]]:
        """Id -> vector; each id once."""
        rows = lance.dataset(self.vectors).to_table(columns=["id", "vector"])
        held = dict(zip(rows["id"].to_pylist(), rows["vector"].to_pylist(), strict=True))
        assert len(held) == rows.num_rows, "an id is there twice"
        return held


def _with(rows: pa.Table, values: dict[str, Any]) -> pa.Table:
    for name, value in values.items():
        field = rows.schema.field(name)
        rows = rows.set_column(rows.column_names.index(name), field, pa.array([value] * len(rows), field.type))
    return rows


def vector_of(dim: int, *, fill: float) -> list[float]:
    return np.full(dim, fill, np.float16).tolist()
