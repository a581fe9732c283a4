"""Whether more of what came has failed, against SciPy's exact test."""

import pytest
from scipy.stats import fisher_exact

from pipelines.drift.failures import more_failures_by_chance


@pytest.mark.parametrize(
    ("failed", "of", "came_failed", "came"),
    [(5, 100, 9, 60), (0, 100, 3, 40), (40, 100, 0, 60), (100, 100, 60, 60), (0, 50, 0, 50), (7, 20_000, 30, 500)],
)
def test_the_chance_is_that_of_fishers_test(failed: int, of: int, came_failed: int, came: int) -> None:
    table = [[came_failed, came - came_failed], [failed, of - failed]]
    expected = fisher_exact(table, alternative="greater").pvalue
    assert more_failures_by_chance(failed, of, came_failed, came) == pytest.approx(expected, rel=1e-6)


def test_of_nothing() -> None:
    assert more_failures_by_chance(3, 10, 0, 0) == 1
    assert more_failures_by_chance(0, 0, 0, 0) == 1
