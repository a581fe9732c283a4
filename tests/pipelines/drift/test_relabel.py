"""What chance gives: exact, adjusted for several statistics, and with an image's two rows kept as a pair."""

import numpy as np

from pipelines.drift.relabel import Statistic, compare_with_chance


def mean_difference(values: np.ndarray) -> Statistic:
    def statistic(labels: np.ndarray) -> np.ndarray:
        second = (labels * values).sum(1) / labels.sum(1)
        return np.abs(second - (~labels * values).sum(1) / (~labels).sum(1))

    return statistic


LABELS = np.repeat([False, True], [30, 20])


def test_p_is_uniform_where_nothing_differs_and_least_where_all_does() -> None:
    alone = np.arange(50)
    found = [
        compare_with_chance(
            {"mean": mean_difference(np.random.default_rng(seed).normal(size=50))}, LABELS, alone, rounds=99, seed=seed
        )["mean"].p
        for seed in range(200)
    ]
    assert 0.4 < np.mean(found) < 0.6
    assert np.mean(np.array(found) <= 0.1) < 0.16
    apart = compare_with_chance({"mean": mean_difference(LABELS * 1.0)}, LABELS, alone, rounds=99, seed=0)["mean"]
    assert apart.value == 1
    assert apart.by_chance < 0.3
    assert apart.p == 0.01


def test_several_statistics_alarm_no_more_often_than_one() -> None:
    def alarms(count: int) -> float:
        least = []
        for seed in range(200):
            random = np.random.default_rng(seed)
            many = {f"s{at}": mean_difference(random.normal(size=50)) for at in range(count)}
            found = compare_with_chance(many, LABELS, np.arange(50), rounds=99, seed=seed)
            least.append(min(each.p for each in found.values()))
        return float(np.mean(np.array(least) <= 0.05))

    assert alarms(12) <= 0.09


def test_two_rows_of_an_image_stay_on_two_sides() -> None:
    labels, images = np.repeat([False, True], [8, 6]), np.array([*range(8), 0, 1, 2, 20, 21, 22])
    drawn: list[np.ndarray] = []

    def keep(labels_BN: np.ndarray) -> np.ndarray:
        drawn.append(labels_BN.copy())
        return labels_BN.sum(1).astype(float)

    compare_with_chance({"keep": keep}, labels, images, rounds=64, seed=0)
    [first, *others] = np.concatenate(drawn)
    assert (first == labels).all()
    for each in others:
        assert (each[[0, 1, 2]] != each[[8, 9, 10]]).all()
        assert each.sum() == labels.sum()
    assert len({each.tobytes() for each in others}) > 32


def test_statistics_that_never_vary_say_nothing() -> None:
    still = compare_with_chance({"a": lambda labels: np.zeros(len(labels))}, LABELS, np.arange(50), rounds=19, seed=0)
    assert still["a"].p == 1


def test_values_that_differ_by_rounding_alone_are_equal() -> None:
    labels, groups = np.arange(40) % 2 == 0, np.arange(40)

    def constant(labels_BN: np.ndarray) -> np.ndarray:
        return 0.008 + 1e-15 * labels_BN[:, :5].sum(axis=1)

    found = compare_with_chance({"it": constant}, labels, groups, rounds=50, seed=0)
    assert found["it"].p == 1
