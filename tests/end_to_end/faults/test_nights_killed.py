"""Nights whose processes are killed at random and started again, audited each morning; at length by `make nights`."""

from pathlib import Path
from typing import Any

import pytest

from nights.kills import KilledRuns
from nights.seven import DATES, LOCAL_NULL, a_world, of_all_kinds, the_first
from nights.swaps import there_and_back


@pytest.mark.s3
@pytest.mark.kill
def test_nothing_is_lost_and_nothing_is_there_twice(s3: Any, tmp_path: Path) -> None:
    runs = KilledRuns(seed=7, kills=2, verbs=("nightly",))
    with a_world(s3, tmp_path, runs, LOCAL_NULL, exact=True, killed=True) as world:
        runs.look = world.look
        the_first(world, DATES[0], 60)
        world.audit()
        of_all_kinds(world, DATES[1], 2)
        world.audit()
    assert runs.ledger.total >= 2, runs.ledger


@pytest.mark.s3
@pytest.mark.kill
@pytest.mark.slow
def test_the_live_column_is_whole_whenever_a_swap_is_killed(s3: Any, tmp_path: Path) -> None:
    runs = KilledRuns(seed=8, kills=2, verbs=("swap",))
    with a_world(s3, tmp_path, runs, LOCAL_NULL, exact=True, killed=True) as world:
        runs.look = world.look
        the_first(world, DATES[0], 60)
        there_and_back(world, DATES[1:])
    assert runs.ledger.total >= 3, runs.ledger
