"""Intervals, spread, changed copies, words and representations, on vectors of which the answer is known."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from operators.vectors.float_codes import cosines
from pipelines.judging.changed import effect_of_change
from pipelines.judging.domain import effective_rank, mean_pair_cosine
from pipelines.judging.intervals import mean_interval
from pipelines.judging.representations import NotFitted, Representation, halves, pareto, representations
from pipelines.judging.words import class_vectors, retrieval, zero_shot_right


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


RANDOM = np.random.default_rng(5)
UNIT = unit(RANDOM.normal(size=(600, 96)) * np.linspace(2, 0.1, 96) + 1.5 * np.sign(np.arange(96) - 30))
ALONE = np.arange(len(UNIT))


def test_an_interval_is_that_of_the_normal_distribution_for_many_images() -> None:
    values = RANDOM.normal(3, 2, 4000)
    found = mean_interval(values)
    assert found is not None
    assert found.mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 4000**0.5
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_images_of_one_group_make_an_interval_no_narrower() -> None:
    values = RANDOM.normal(size=400)
    once, four = mean_interval(values), mean_interval(np.repeat(values, 4), np.repeat(np.arange(400), 4))
    alone = mean_interval(np.repeat(values, 4))
    assert once is not None
    assert four is not None
    assert alone is not None
    assert four.high - four.low == pytest.approx(once.high - once.low, rel=0.15)
    assert alone.high - alone.low < 0.6 * (once.high - once.low)


def test_images_without_a_value_are_left_out_and_none_is_none() -> None:
    found = mean_interval(np.array([1.0, np.nan, 1.0]))
    assert found is not None
    assert (found.mean, found.images) == (1.0, 2)
    assert mean_interval(np.array([np.nan])) is None


def test_the_effective_rank_counts_images_at_right_angles() -> None:
    assert effective_rank(np.eye(32)) == pytest.approx(32)
    assert effective_rank(np.eye(32)[np.arange(96) % 8]) == pytest.approx(8)
    assert effective_rank(np.tile(np.eye(32)[:1], (9, 1))) == pytest.approx(1)


def test_the_mean_cosine_is_that_of_all_pairs() -> None:
    pairs = (UNIT @ UNIT.T)[~np.eye(len(UNIT), dtype=bool)]
    assert mean_pair_cosine(UNIT) == pytest.approx(pairs.mean(), abs=1e-6)


def test_an_unchanged_copy_finds_its_original_and_another_image_does_not() -> None:
    originals = np.arange(50)
    same = effect_of_change(UNIT[:50], UNIT, originals, ALONE)
    assert same.found.tolist() == [1] * 50
    assert same.neighbours_changed.tolist() == [0] * 50
    np.testing.assert_allclose(same.cosine, 1, atol=1e-6)
    other = effect_of_change(UNIT[50:100], UNIT, originals, ALONE)
    assert other.found.sum() == 0
    assert other.neighbours_changed.mean() > 0.8
    np.testing.assert_allclose(other.cosine, (UNIT[:50] * UNIT[50:100]).sum(axis=1), atol=1e-6)


def test_to_find_an_image_of_the_same_group_is_right() -> None:
    groups = np.concatenate([np.arange(50), np.arange(50), np.arange(50, 550)])
    assert effect_of_change(UNIT[50:100], UNIT, np.arange(50), groups).found.tolist() == [1] * 50


def test_captions_and_images_find_each_other_as_numpy_ranks_them() -> None:
    texts = unit(UNIT[:200:2] + 0.15 * RANDOM.normal(size=(100, 96)))
    of_image = np.arange(200) // 2
    found = retrieval(UNIT[:200], texts, of_image)
    scores = UNIT[:200] @ texts.T
    ranks = (scores > scores[np.arange(200), of_image][:, None]).sum(axis=1)
    best = np.array([(scores[:, t] > scores[of_image == t, t].max()).sum() for t in range(100)])
    for k in (1, 5, 10):
        assert found.image_to_text[k].tolist() == (ranks < k).tolist()
        assert found.text_to_image[k].tolist() == (best < k)[of_image].tolist()
    assert 0.2 < found.text_to_image[1].mean() < 1


def test_a_class_is_the_mean_of_its_prompts() -> None:
    prompts = unit(RANDOM.normal(size=(6, 96))).reshape(3, 2, 96)
    classes = class_vectors(prompts)
    np.testing.assert_allclose(classes, unit(prompts.mean(axis=1)), atol=1e-6)
    assert zero_shot_right(classes, classes, np.array([0, 1, 0])).tolist() == [1, 1, 0]


@pytest.fixture(scope="module")
def stored() -> dict[str, Representation | NotFitted]:
    labels = np.arange(len(UNIT)) % 3
    labels[0] = -1
    return {each.name: each for each in representations(UNIT, ALONE, labels, seed=0)}


def test_every_way_of_storing_is_measured_in_its_bytes(stored: dict[str, Representation | NotFitted]) -> None:
    sizes = {name: each.bytes_stored for name, each in stored.items() if isinstance(each, Representation)}
    assert sizes == {
        **{"float16": 192, "pca 64": 128, "first 64": 128, "int8": 96, "binary": 12, "binary, rescored": 204},
        "pq 32 bytes": 32,
    }


def test_full_vectors_keep_all_and_coarser_ones_less(stored: dict[str, Representation | NotFitted]) -> None:
    recalls = {n: float(np.nanmean(each.recall)) for n, each in stored.items() if isinstance(each, Representation)}
    assert recalls["float16"] > 0.99
    assert recalls["int8"] > 0.9
    assert recalls["binary"] < recalls["binary, rescored"] <= 1
    assert recalls["first 64"] < 1


def test_a_shorter_vector_is_measured_as_scikit_learns_pca_would_be(
    stored: dict[str, Representation | NotFitted],
) -> None:
    split = halves(ALONE, 0)
    assert len({*split.fitted, *split.measured}) == len(UNIT)
    pca = PCA(64, svd_solver="full").fit(UNIT[split.fitted].astype(np.float64))
    short, full = pca.transform(UNIT[split.measured]), UNIT[split.measured]
    ours = stored["pca 64"]
    assert isinstance(ours, Representation)
    theirs = []
    for near, true in zip(_near(short), _near(full), strict=True):
        theirs.append(len({*near} & {*true}) / 10)
    assert float(ours.recall.mean()) == pytest.approx(np.mean(theirs), abs=0.01)


def _near(vectors: np.ndarray) -> np.ndarray:
    found = cosines(vectors, vectors)
    np.fill_diagonal(found, -np.inf)
    return np.argsort(-found, axis=1)[:, :10]


def test_what_the_images_do_not_suffice_for_is_said() -> None:
    few = {each.name: each for each in representations(UNIT[:80], ALONE[:80], None, seed=0)}
    assert isinstance(few["pca 64"], NotFitted)
    assert "needs more than 64 images" in few["pca 64"].why
    assert isinstance(few["pq 32 bytes"], NotFitted)


def test_halves_keep_groups_whole() -> None:
    groups = np.arange(300) // 7
    split = halves(groups, 1)
    assert not {*groups[split.fitted]} & {*groups[split.measured]}
    assert abs(len(split.fitted) - 150) <= 7


def test_the_front_is_what_nothing_beats() -> None:
    assert pareto([1, 2, 2, 3, 4], [5, 5, 7, 6, 8]) == [True, False, True, False, True]
