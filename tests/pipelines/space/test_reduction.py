"""The chain of a derived column: each step's arithmetic, the order, lists of vectors, and rows that give nothing."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from operators.base.arrays import vectors_from_numpy
from operators.pca import project
from operators.storage.artifacts import Artifact, ArtifactRef, write_artifact
from pipelines.space.reduction import PcaStep, ReduceVectors, Reduction, reduction_chain

DIM = 16
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(40, DIM)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def pca(tmp_path_factory: pytest.TempPathFactory) -> ArtifactRef:
    components = np.linalg.qr(RNG.normal(size=(DIM, DIM)))[0]
    tensors = {
        "mean": VECTORS.astype(np.float64).mean(0),
        "components": components[:8],
        "explained_variance": RNG.random(8),
    }
    return write_artifact(Artifact(kind="pca", tensors=tensors, space={}, rows=40), str(tmp_path_factory.mktemp("a")))


def reduce(reduction: Reduction, vectors: pa.Array) -> tuple[pa.Array, dict[int, str]]:
    return ReduceVectors(reduction_chain(reduction, "small"), "vector", "small")(vectors)


def as_numpy(column: pa.Array) -> np.ndarray:
    return np.array(column.to_pylist(), np.float32)


def test_cut_vectors_are_the_first_components_at_unit_length() -> None:
    made, _ = reduce(Reduction(base="vector", base_dim=DIM, truncate_dim=5), vectors_from_numpy(VECTORS))
    expected = VECTORS[:, :5] / np.linalg.norm(VECTORS[:, :5], axis=1, keepdims=True)
    assert made.type == pa.list_(pa.field("item", pa.float16()), 5)
    np.testing.assert_allclose(as_numpy(made), expected, atol=1e-3)


def test_a_table_of_lengths_that_matter_keeps_them() -> None:
    reduction = Reduction(base="vector", base_dim=DIM, truncate_dim=5, renormalize=False, precision="float32")
    made, _ = reduce(reduction, vectors_from_numpy(VECTORS * 3))
    np.testing.assert_allclose(as_numpy(made), VECTORS[:, :5] * 3, rtol=1e-6)


@pytest.mark.parametrize("whiten", [False, True])
def test_pca_comes_before_the_cut(pca: ArtifactRef, whiten: bool) -> None:
    from operators.storage.artifacts import read_artifact

    tensors = read_artifact(pca).tensors
    step = PcaStep(artifact=pca, dim=8, whiten=whiten)
    reduction = Reduction(base="vector", base_dim=DIM, pca=step, truncate_dim=3, precision="float32")
    made, _ = reduce(reduction, vectors_from_numpy(VECTORS))
    expected = (VECTORS - tensors["mean"]) @ tensors["components"].T
    expected = expected / np.sqrt(tensors["explained_variance"]) if whiten else expected
    expected = expected[:, :3] / np.linalg.norm(expected[:, :3], axis=1, keepdims=True)
    np.testing.assert_allclose(as_numpy(made), expected, atol=1e-6)


def test_the_chain_names_what_it_does(pca: ArtifactRef) -> None:
    step = PcaStep(artifact=pca, dim=8, whiten=False)
    whole = Reduction(base="vector", base_dim=DIM, pca=step, truncate_dim=3)
    assert [c.name for c in reduction_chain(whole, "small")] == ["pca", "truncate", "renormalize", "quantize"]
    plain = Reduction(base="vector", base_dim=DIM)
    assert [c.name for c in reduction_chain(plain, "small")] == ["quantize"]


def test_lists_of_vectors_keep_their_lengths() -> None:
    lists = pa.ListArray.from_arrays(pa.array([0, 3, 3, 4], pa.int32()), vectors_from_numpy(VECTORS[:4]))
    made, _ = reduce(Reduction(base="vector", base_dim=DIM, truncate_dim=5), lists)
    assert [len(row) for row in made.to_pylist()] == [3, 0, 1]
    alone, _ = reduce(Reduction(base="vector", base_dim=DIM, truncate_dim=5), vectors_from_numpy(VECTORS[:4]))
    assert made.flatten().equals(alone)


def test_rows_without_a_vector_stay_so_and_rows_of_which_nothing_is_left_say_why() -> None:
    vectors = VECTORS[:6].copy()
    vectors[4, :5] = 0
    valid = np.array([True, False, True, True, True, True])
    made, reasons = reduce(Reduction(base="vector", base_dim=DIM, truncate_dim=5), vectors_from_numpy(vectors, valid))
    assert made.is_valid().to_pylist() == [True, False, True, True, False, True]
    assert reasons == {4: "small: the vector is zero"}
    assert made[5].as_py() == pytest.approx(VECTORS[5, :5] / np.linalg.norm(VECTORS[5, :5]), abs=1e-3)


@pytest.mark.parametrize(("bad", "row", "region"), [(0, 0, 0), (1, 1, 0), (2, 1, 1), (3, 1, 2)])
def test_a_bad_region_is_named(bad: int, row: int, region: int) -> None:
    vectors = VECTORS[:4].copy()
    vectors[bad, :5] = 0
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 4], pa.int32()), vectors_from_numpy(vectors))
    made, reasons = reduce(Reduction(base="vector", base_dim=DIM, truncate_dim=5), lists)
    assert made.is_valid().to_pylist() == [row != 0, row != 1]
    assert reasons == {row: f"small: region {region}: the vector is zero"}


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (9, DIM), elements=st.floats(-2, 2, width=32)))
def test_a_whole_pca_keeps_distances(vectors: np.ndarray) -> None:
    components = np.linalg.qr(np.random.default_rng(3).normal(size=(DIM, DIM)))[0]
    projected = project(vectors, vectors.astype(np.float64).mean(0), components)
    before = np.linalg.norm(vectors[:, None].astype(np.float64) - vectors[None], axis=2)
    after = np.linalg.norm(projected[:, None].astype(np.float64) - projected[None], axis=2)
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_a_row_alone_is_what_it_is_among_others(pca: ArtifactRef) -> None:
    step = PcaStep(artifact=pca, dim=8, whiten=True)
    reduction = Reduction(base="vector", base_dim=DIM, pca=step, precision="float32")
    together, _ = reduce(reduction, vectors_from_numpy(VECTORS))
    alone = [reduce(reduction, vectors_from_numpy(row[None]))[0] for row in VECTORS]
    assert pa.concat_arrays(alone).equals(together)
