"""A PCA of a table: of all its vectors, or of a sample that is the same rows whatever fragments they lie in."""

from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from sklearn.decomposition import PCA

from made.derived import embed
from made.tables import DIM, SCHEMA, batch, names_in, open_committer, sink_of, vector_of
from operators.base.arrays import vectors_from_numpy
from operators.base.errors import UserError
from operators.storage.stores import StorageOptions
from pipelines.derivation.fit_pca import PcaOfTable, fit_pca_of_table
from pipelines.space.samples import row_sample
from pipelines.table.names import TableNames
from pipelines.table.table import Table

SHARDS, ROWS = 6, 50


def table_of(folder: Path, order: list[int], rows_per_fragment: int) -> "lance.LanceDataset":
    """The same rows, shard after shard in this order, cut into fragments of this size."""
    names = names_in(folder)
    committer, sink = open_committer(names), sink_of(names)
    for shard in order:
        for start in range(0, ROWS, rows_per_fragment):
            committer.commit([sink.write(batch(shard, range(start, min(start + rows_per_fragment, ROWS))))])
    return lance.dataset(names.vectors)


def fit(dataset: "lance.LanceDataset", column: str, dim: int | float, **options: Any) -> PcaOfTable:
    return fit_pca_of_table(Table.of(dataset.uri), dataset.version, column, dim, **options)


def bytes_of(fitted: PcaOfTable) -> dict[str, bytes]:
    return {name: each.tobytes() for name, each in fitted.pca.tensors().items()}


def every_vector() -> np.ndarray:
    return np.stack([vector_of(shard, row) for shard in range(SHARDS) for row in range(ROWS)]).astype("f8")


@pytest.mark.parametrize("sample", [None, 120])
def test_the_same_bytes_however_the_rows_lie(
    tmp_path: Path, sample: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.derivation.fit_pca._FEWEST_ROWS", 60)
    kinds = [([0, 1, 2, 3, 4, 5], 50), ([3, 1, 5, 0, 2, 4], 17), ([5, 4, 3, 2, 1, 0], 7)]
    tables = [table_of(tmp_path / str(n), order, rows) for n, (order, rows) in enumerate(kinds)]
    tables[2].optimize.compact_files()
    fits = [fit(lance.dataset(table.uri), "vector", 4, sample=sample) for table in tables]
    assert bytes_of(fits[0]) == bytes_of(fits[1]) == bytes_of(fits[2])
    assert len({(fit.rows, fit.table_rows) for fit in fits}) == 1
    assert fits[0].rows == SHARDS * ROWS if sample is None else 80 < fits[0].rows < 160


def test_equals_scikit_learn_on_all_rows(tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    table = table_of(tmp_path, list(range(SHARDS)), ROWS)
    fitted = fit(table, "vector", 0.8, on_rows=lambda *rows: progress.append(rows))
    theirs = PCA(0.8, svd_solver="full").fit(every_vector())
    assert len(fitted.pca.components) == theirs.n_components_
    assert np.allclose(fitted.pca.components, theirs.components_, atol=1e-6)
    assert np.allclose(fitted.pca.explained_variance, theirs.explained_variance_, rtol=1e-6)
    assert progress[-1] == (300, 300)
    assert (fitted.version, fitted.without_vector, fitted.not_finite) == (table.version, 0, 0)


def test_a_sample_is_read_from_the_right_rows_of_a_table_with_deleted_ones(tmp_path: Path) -> None:
    table = table_of(tmp_path, list(range(SHARDS)), ROWS)
    table.delete("row % 7 = 3")
    there = [(shard, row) for shard in range(SHARDS) for row in range(ROWS) if row % 7 != 3]
    keys = np.array([shard << 32 | row for shard, row in there])
    sampled = [at for at, hit in zip(there, row_sample(keys, 100 / len(there)), strict=True) if hit]
    fitted = fit(lance.dataset(table.uri), "vector", 3, sample=100)
    theirs = PCA(3, svd_solver="full").fit(np.stack([vector_of(*at) for at in sampled]).astype("f8"))
    assert fitted.rows == len(sampled)
    assert np.allclose(fitted.pca.components, theirs.components_, atol=1e-6)


def test_vectors_that_are_null_or_not_finite_are_left_out_and_counted(tmp_path: Path) -> None:
    table = table_of(tmp_path, [0, 1], ROWS)
    table.update({"vector": "NULL"}, where="shard = 0 AND row < 5")
    rows = batch(2, range(ROWS))
    vectors = np.stack(rows["vector"].to_numpy(zero_copy_only=False)).astype("f2")
    vectors[7, 0], vectors[9, 3] = np.nan, np.inf
    index = rows.schema.get_field_index("vector")
    names = names_in(tmp_path)
    odd = rows.set_column(index, SCHEMA.field("vector"), vectors_from_numpy(vectors))
    open_committer(names).commit([sink_of(names).write(odd)])
    fitted = fit(lance.dataset(table.uri), "vector", 2)
    assert (fitted.rows, fitted.table_rows, fitted.without_vector, fitted.not_finite) == (143, 150, 5, 2)


def test_a_column_with_several_vectors_a_row_counts_each(tmp_path: Path) -> None:
    counts = [3, 0, 1, 2]
    vectors = np.stack([vector_of(9, n) for n in range(6)])
    offsets = pa.array([0, *np.cumsum(counts)], pa.int32())
    lists = pa.ListArray.from_arrays(offsets, vectors_from_numpy(vectors)).to_pylist()
    kind = pa.list_(pa.list_(pa.float16(), DIM))
    rows = pa.table({"vector": pa.array([*lists, None], kind)})
    fitted = fit(lance.write_dataset(rows, f"{tmp_path}/multi.lance"), "vector", 2)
    theirs = PCA(2, svd_solver="full").fit(vectors.astype("f8"))
    assert (fitted.rows, fitted.table_rows, fitted.without_vector) == (6, 5, 1)
    assert np.allclose(fitted.pca.explained_variance, theirs.explained_variance_, rtol=1e-6)


@pytest.mark.parametrize("kind", [pa.list_(pa.int8(), DIM), pa.string(), pa.list_(pa.float16())])
def test_other_columns_are_refused(tmp_path: Path, kind: pa.DataType) -> None:
    table = lance.write_dataset(pa.table({"codes": pa.nulls(3, kind)}), f"{tmp_path}/codes.lance")
    with pytest.raises(UserError, match=r"column codes: .*; a PCA is fitted on float16 or float32 vectors"):
        fit(table, "codes", 2)


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    names: TableNames = names_in(tmp_path)
    open_committer(names)
    with pytest.raises(UserError, match="0 vectors to fit on"):
        fit(lance.dataset(names.vectors), "vector", 2, sample=10)


def test_a_larger_sample_holds_the_smaller_one() -> None:
    keys = np.arange(200_000, dtype=np.int64) << 20
    small, large = row_sample(keys, 0.01), row_sample(keys, 0.25)
    assert not (small & ~large).any()
    assert abs(small.sum() - 2000) < 5 * 2000**0.5
    assert abs(large.sum() - 50_000) < 5 * 37_500**0.5
    assert row_sample(keys, 1.0).all()


@pytest.mark.s3
@pytest.mark.parametrize("sample", [None, 60])
def test_on_s3_as_on_disk(s3: Any, tmp_path: Path, sample: int | None) -> None:
    storage = StorageOptions(**s3.storage_options)
    there, here = names_in(f"s3://{s3.bucket('pca')}/lake"), names_in(tmp_path)
    embed(there, range(3), storage=storage)
    embed(here, range(3))
    table = Table(names=there, storage=storage)
    remote = fit_pca_of_table(table, table.latest().version, "vector", 3, sample=sample)
    assert bytes_of(remote) == bytes_of(fit(lance.dataset(here.vectors), "vector", 3, sample=sample))
