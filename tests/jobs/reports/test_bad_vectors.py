"""How many bad vectors stop a run."""

import pytest

from jobs.reports.bad_vectors import LEAST_BAD, BadVectorsError, check_bad_vectors


@pytest.mark.parametrize(
    ("bad", "good", "share", "stops"),
    [
        (LEAST_BAD - 1, 0, 0.001, False),
        (LEAST_BAD, 0, 0.001, True),
        (LEAST_BAD, 999 * LEAST_BAD, 0.001, False),
        (LEAST_BAD + 1, 999 * LEAST_BAD, 0.001, True),
        (1_000_000, 0, 1.0, False),
        (0, 0, 0.0, False),
        (LEAST_BAD, 1_000_000, 0.0, True),
    ],
)
def test_a_run_is_stopped_by_a_share_and_not_by_a_few(bad: int, good: int, share: float, stops: bool) -> None:
    if not stops:
        check_bad_vectors(bad, good, share, "lake/t")
        return
    with pytest.raises(BadVectorsError, match=rf"^{bad:,} of the {bad + good:,} vectors .* a share of {share:g}:"):
        check_bad_vectors(bad, good, share, "lake/t")
