"""A table of ready vectors that Pixlake made and indexed, and what other tools do to it: plain lancedb, none of ours.

`made_tables` gives a table half of whose manifest is embedded, with stable row ids and without; `ACTIONS` are what is
done to it. Whatever an index is for, after each of them Pixlake's commands have to give what a scan gives.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lance
import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.config.load import load_config
from jobs.embed import EmbedConfig, Report, run

ROWS, FIRST, DIM = 60, 40, 8
FAILED = (7, 45)
"""Rows whose vector is zero: failures."""
KEPT = ("label", "number", "grade", "even", "tags", "code", "name")


@dataclass(frozen=True)
class Touched:
    """A table, and the manifest of which it holds the first `FIRST` rows."""

    folder: Path
    source: Path
    """The whole manifest: a folder of ready vectors."""
    table: str
    """As Pixlake names it."""

    @property
    def dataset(self) -> "lance.LanceDataset":
        return lance.dataset(f"{self.table}.lance")

    @property
    def lancedb(self) -> Any:
        return lancedb.connect(str(Path(self.table).parent)).open_table(Path(self.table).name)

    def rows(self) -> list[dict[str, Any]]:
        """Every row, read without a filter: no index has a part in it."""
        return self.dataset.to_table().to_pylist()

    def failed(self) -> list[dict[str, Any]]:
        return lance.dataset(f"{self.table}__failures.lance").to_table().to_pylist()

    def copy_to(self, folder: Path) -> "Touched":
        """The same tables elsewhere, of the same manifest."""
        shutil.copytree(Path(self.table).parent, folder / "lake")
        return Touched(folder=folder, source=self.source, table=f"{folder}/lake/photos")

    def embed(self, source: Path | None = None, limit: int | None = None, **options: Any) -> Report:
        """One run of `pixlake embed`, of the whole manifest unless a limit is given."""
        wanted = {
            "uri": str(source or self.source),
            "id_column": "key",
            "keep": list(KEPT),
            "limit": limit,
            "vectors": {"model": "ready"},
        }
        base = {"source": wanted, "table": self.table, "cluster": {"executor": "local"}, **options}
        return run(load_config(EmbedConfig, base=base))


def vectors_of(numbers: list[int]) -> np.ndarray:
    """(N, DIM) float32, another for every number; zeros for those that fail."""
    vectors = np.stack([np.random.default_rng(n).normal(size=DIM) for n in numbers]).astype("f4")
    vectors[[n in FAILED for n in numbers]] = 0
    return vectors


def write_manifest(folder: Path, numbers: list[int]) -> Path:
    """A folder of ready vectors, a row a number."""
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    np.save(folder / "img_emb" / "img_emb_0000.npy", vectors_of(numbers))
    columns = {
        "image_path": [f"/photos/i{n}.jpg" for n in numbers],
        "key": [f"i{n}" for n in numbers],
        "label": [None if n % 7 == 3 else ("cat", "dog", "o'bird")[n % 3] for n in numbers],
        "number": pa.array(numbers, pa.int64()),
        "grade": pa.array([None if n % 9 == 4 else n / 8 for n in numbers], pa.float64()),
        "even": pa.array([n % 2 == 0 for n in numbers]),
        "tags": pa.array([[f"t{n % 5}", f"u{n % 3}"] for n in numbers]),
        "code": [f"c{n % 10}" for n in numbers],
        "name": [f"name{n % 13}" for n in numbers],
    }
    pq.write_table(pa.table(columns), folder / "metadata" / "metadata_0000.parquet")
    return folder


@contextmanager
def stable_row_ids() -> Iterator[None]:
    """Tables made meanwhile have stable row ids, as those of earlier releases do: the first commit's flag decides."""
    commit = lance.LanceDataset.commit

    def flagged(*arguments: Any, **options: Any) -> Any:
        return commit(*arguments, **options, enable_stable_row_ids=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lance.LanceDataset, "commit", staticmethod(flagged))
        yield


def make(folder: Path, *, stable: bool) -> Touched:
    """Two fragments at least: two runs with a limit."""
    source = write_manifest(folder / "ready", list(range(ROWS)))
    made = Touched(folder=folder, source=source, table=f"{folder}/lake/photos")
    if stable:
        with stable_row_ids():
            made.embed(limit=FIRST // 2)
    else:
        made.embed(limit=FIRST // 2)
    made.embed(limit=FIRST)
    assert made.dataset.has_stable_row_ids == stable
    return made


def _update(touched: Touched) -> None:
    """Of every column that has an index but the vector, in rows of the first fragment: they move to a new one."""
    values = {"label": "kitty", "number": 1000, "grade": 99.5, "even": True, "code": "c77"}
    touched.lancedb.update(where="number < 12", values=values)
    touched.lancedb.update(where="number = 20", values={"id": "renamed", "uri": "/photos/renamed.jpg"})


def _update_then_optimize(touched: Touched) -> None:
    _update(touched)
    touched.lancedb.optimize()


def _optimize(touched: Touched) -> None:
    touched.lancedb.optimize()


def _merge_insert(touched: Touched) -> None:
    table = touched.lancedb
    there = touched.dataset.to_table(filter="number >= 15 AND number < 25", use_scalar_index=False)
    at = there.schema.get_field_index("label")
    changed = there.set_column(at, there.schema.field(at), pa.array(["merged"] * there.num_rows, pa.string()))
    table.merge_insert("id").when_matched_update_all().use_index(False).execute(changed)


def _delete(touched: Touched) -> None:
    """Of rows that the next run leaves out, unless it is told otherwise."""
    touched.lancedb.delete("number IN (3, 21, 22)")


def _add(touched: Touched) -> None:
    """Rows of the manifest that were not embedded yet, as Pixlake would have written them."""
    there = touched.dataset.to_table(filter="number IN (10, 11)", use_scalar_index=False)
    own = {"id": ["i50", "i51"], "uri": ["/photos/i50.jpg", "/photos/i51.jpg"], "number": [50, 51], "row": [50, 51]}
    for name, values in own.items():
        at = there.schema.get_field_index(name)
        there = there.set_column(at, there.schema.field(at), pa.array(values, there.schema.field(at).type))
    vectors = vectors_of([50, 51])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kind = there.schema.field("vector").type
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype("f2").ravel()), type=kind)
    touched.lancedb.add(there.set_column(there.schema.get_field_index("vector"), there.schema.field("vector"), column))


def _restore(touched: Touched) -> None:
    table = touched.lancedb
    version = table.version
    _update_then_optimize(touched)
    table.checkout(version)
    table.restore()


ACTIONS: dict[str, Callable[[Touched], None]] = {
    "update": _update,
    "update then optimize": _update_then_optimize,
    "optimize": _optimize,
    "merge_insert": _merge_insert,
    "delete": _delete,
    "add": _add,
    "restore": _restore,
}


@pytest.fixture(scope="session")
def made_tables(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Touched]:
    """With stable row ids (True) and without, as they were before anybody touched them; copy them first."""
    return {stable: make(tmp_path_factory.mktemp(f"stable_{stable}"), stable=stable) for stable in (False, True)}
