"""Stored precisions: codes, what they stand for, and the order in which they put vectors, against NumPy and faiss."""

from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from operators.storage.artifacts import ArtifactError
from operators.vectors.codecs import FITTED, Codec, fit_codec, make_codec
from operators.vectors.float_codes import cosines

DIM, PQ_BYTES = 32, 8


def unit(count: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def codec_of(precision: Any, sample: np.ndarray) -> Codec:
    fitted = fit_codec(precision, sample, pq_bytes=PQ_BYTES, space={}) if precision in FITTED else None
    return make_codec(precision, sample.shape[1], fitted)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return unit(2000)


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 1e-6), ("float16", 1e-3), ("int8", 1e-3), ("binary", 0), ("pq", 0.25)]
)
def test_a_vector_finds_itself_first(precision: str, tolerance: float, vectors: np.ndarray) -> None:
    codec = codec_of(precision, vectors)
    codes = codec.encode(vectors)
    assert codes.shape == (2000, codec.width)
    scores = codec.scores(vectors[:200], codes)
    assert (scores.argmax(1) == np.arange(200)).all()
    assert np.diag(scores[:, :200]).min() >= 1 - tolerance


@pytest.mark.parametrize("precision", ["float16", "int8", "binary", "pq"])
def test_what_codes_stand_for_has_the_same_codes(precision: str, vectors: np.ndarray) -> None:
    codec = codec_of(precision, vectors)
    codes = codec.encode(vectors)
    np.testing.assert_array_equal(codec.encode(codec.decode(codes)), codes)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "pq"])
def test_scores_are_the_cosines_to_what_the_codes_stand_for(precision: str, vectors: np.ndarray) -> None:
    codec, queries = codec_of(precision, vectors), unit(5, seed=1)
    codes = codec.encode(vectors)
    np.testing.assert_allclose(codec.scores(queries, codes), cosines(queries, codec.decode(codes)), atol=2e-6)


def test_int8_is_half_a_step_from_the_vector_at_most(vectors: np.ndarray) -> None:
    codec = codec_of("int8", vectors)
    step = (vectors.max(0) - vectors.min(0)) / 254
    assert (np.abs(codec.decode(codec.encode(vectors)) - vectors) <= step / 2 + 1e-6).all()


def test_int8_orders_as_faiss_scalar_quantizer_does(vectors: np.ndarray) -> None:
    codec, queries = codec_of("int8", vectors), unit(50, seed=1)
    index = faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    theirs = index.search(queries, 10)[1]
    ours = np.argsort(-codec.scores(queries, codec.encode(vectors)), axis=1)[:, :10]
    agree = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(theirs, ours, strict=True)])
    assert agree > 0.97


def test_binary_orders_as_faiss_binary_index_does(vectors: np.ndarray) -> None:
    codec, queries = codec_of("binary", vectors), unit(20, seed=1)
    codes = codec.encode(vectors)
    np.testing.assert_array_equal(codes, np.packbits(vectors > np.median(vectors, axis=0), axis=1))
    index = faiss.IndexBinaryFlat(DIM)
    index.add(codes)
    distances, _ = index.search(codec.encode(queries), 2000)
    ours = -np.sort(-codec.scores(queries, codes), axis=1)
    np.testing.assert_allclose(ours, 1 - 2 * distances / DIM, atol=1e-6)


def test_pq_codes_and_order_are_those_of_faiss(vectors: np.ndarray) -> None:
    codec, queries = codec_of("pq", vectors), unit(20, seed=1)
    reference = faiss.ProductQuantizer(DIM, PQ_BYTES, 8)
    faiss.copy_array_to_vector(codec.codebook.reshape(-1), reference.centroids)  # type: ignore[attr-defined]
    codes = codec.encode(vectors)
    np.testing.assert_array_equal(codes, reference.compute_codes(vectors))
    decoded = reference.decode(codes)
    unit_decoded = decoded / np.linalg.norm(decoded, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(DIM)
    index.add(unit_decoded)
    scores, _ = index.search(queries, 10)
    ours = -np.sort(-codec.scores(queries, codes), axis=1)[:, :10]
    np.testing.assert_allclose(ours, scores, atol=1e-5)


def test_the_same_sample_gives_the_same_codebook(vectors: np.ndarray) -> None:
    first, second = (fit_codec("pq", vectors, pq_bytes=PQ_BYTES, space={}) for _ in range(2))
    np.testing.assert_array_equal(first.tensors["codebook"], second.tensors["codebook"])


def test_features_that_are_never_negative_have_balanced_bits(vectors: np.ndarray) -> None:
    """What ends in a ReLU: a threshold of zero would set every bit."""
    bits = np.unpackbits(codec_of("binary", np.abs(vectors)).encode(np.abs(vectors)), axis=1)
    assert 0.45 < bits.mean() < 0.55


def test_a_dimension_that_does_not_vary_is_kept(vectors: np.ndarray) -> None:
    sample = vectors.copy()
    sample[:, 3] = 0.25
    codec = codec_of("int8", sample)
    np.testing.assert_allclose(codec.decode(codec.encode(sample))[:, 3], 0.25)


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, (7, 12), elements=st.floats(-4, 4, width=32)))
def test_any_length_of_bits_comes_back(vectors: np.ndarray) -> None:
    codec = codec_of("binary", vectors)
    codes = codec.encode(vectors)
    assert codes.shape == (7, 2)
    np.testing.assert_array_equal(codec.encode(codec.decode(codes)), codes)
    assert (codec.scores(vectors, codes).diagonal() == 1).all()


def test_what_cannot_be_fitted_says_why() -> None:
    with pytest.raises(ArtifactError, match=r"7 bytes do not divide vectors of length 32.*: 8"):
        fit_codec("pq", unit(300), pq_bytes=7, space={})
    with pytest.raises(ArtifactError, match="20 vectors are too few"):
        fit_codec("pq", unit(20), pq_bytes=8, space={})
    with pytest.raises(ArtifactError, match="needs an artifact of kind 'int8', and nothing was given"):
        make_codec("int8", DIM)
    with pytest.raises(ArtifactError, match="fitted on vectors of length 32, these have 16"):
        make_codec("int8", 16, fit_codec("int8", unit(20), pq_bytes=1, space={}))
