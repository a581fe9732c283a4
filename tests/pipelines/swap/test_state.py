from typing import get_args

import pytest

from pipelines.swap.state import (
    SWAP_KEY,
    Step,
    Swap,
    SwapState,
    advance,
    check_may_begin,
    done,
    read_swap,
)
from pipelines.table.errors import RefusedError, TableError

ALLOWED = {
    "backfill": {"fill", "abandon"},
    "filled": {"fill", "index", "abandon"},
    "indexed": {"fill", "gate", "abandon"},
    "gated": {"fill", "gate", "flip", "abandon"},
    "flipping": {"flip"},
    "flipped": {"rollback", "finish"},
    "rolling_back": {"rollback"},
    "rolled_back": {"fill", "abandon"},
    "finishing": {"finish"},
    "finished": set[str](),
    "abandoning": {"abandon"},
    "abandoned": set[str](),
}

AFTER = {
    "fill": "filled",
    "index": "indexed",
    "gate": "gated",
    "flip": "flipping",
    "rollback": "rolling_back",
    "finish": "finishing",
    "abandon": "abandoning",
}
CHANGING = {"flipping", "rolling_back", "finishing", "abandoning"}


def swap(state: SwapState, kind: str = "swap") -> Swap:
    values = {"column": "vector", "new_model": "null:new", "settings": {}, "started_at": "2026-11-29T00:00:00+00:00"}
    return Swap.model_validate({"id": "swap-1", "state": state, "kind": kind, **values})


@pytest.mark.parametrize("state", get_args(SwapState))
@pytest.mark.parametrize("step", get_args(Step))
def test_a_step_is_taken_where_it_may_be_and_refused_elsewhere(state: SwapState, step: Step) -> None:
    if step in ALLOWED[state]:
        assert advance(swap(state), step, "db/t").state == AFTER[step]
    else:
        with pytest.raises(RefusedError, match=f"cannot {step} the swap swap-1"):
            advance(swap(state), step, "db/t")


def test_the_way_from_beginning_to_end_and_back() -> None:
    each = swap("backfill")
    for step, state in (("fill", "filled"), ("index", "indexed"), ("gate", "gated"), ("flip", "flipping")):
        each = advance(each, step, "db/t")
        assert each.state == state
    each = done(each)
    assert each.state == "flipped"
    assert each.flipped_at is not None
    back = done(advance(each, "rollback", "db/t"))
    assert back.state == "rolled_back"
    assert advance(back, "fill", "db/t").state == "filled"
    assert done(advance(back, "abandon", "db/t")).over
    finished = done(advance(each, "finish", "db/t"))
    assert finished.over
    assert finished.ended_at is not None


FOR_GOOD = {
    "backfill": {"fill", "abandon"},
    "filled": {"fill", "finish", "abandon"},
    "finishing": {"finish"},
    "abandoning": {"abandon"},
}


@pytest.mark.parametrize("state", get_args(SwapState))
@pytest.mark.parametrize("step", get_args(Step))
def test_a_column_added_for_good_is_never_flipped(state: SwapState, step: Step) -> None:
    if step in FOR_GOOD.get(state, ()):
        assert advance(swap(state, "add"), step, "db/t").state == AFTER[step]
    else:
        with pytest.raises(RefusedError, match=f"cannot {step} the column swap-1"):
            advance(swap(state, "add"), step, "db/t")


@pytest.mark.parametrize("state", get_args(SwapState))
def test_another_begins_only_where_the_last_is_over(state: SwapState) -> None:
    if state in ("finished", "abandoned"):
        check_may_begin(swap(state), "db/t")
    else:
        with pytest.raises(RefusedError, match="begin another"):
            check_may_begin(swap(state), "db/t")
    check_may_begin(None, "db/t")


@pytest.mark.parametrize("state", sorted(set(get_args(SwapState)) - CHANGING))
def test_only_a_change_of_columns_can_be_done(state: SwapState) -> None:
    with pytest.raises(ValueError, match=state):
        done(swap(state))


def test_the_record_is_read_back_and_a_damaged_one_is_an_error() -> None:
    assert read_swap({}) is None
    assert read_swap({SWAP_KEY: swap("gated").model_dump_json()}) == swap("gated")
    with pytest.raises(TableError, match="another release"):
        read_swap({SWAP_KEY: '{"id": 1}'})


def test_coverage_counts_what_could_not_be_filled() -> None:
    held = swap("filled").model_copy(update={"rows": 10, "unfilled": {"not_found": 1, "changed": 1}})
    assert held.coverage == 0.8
    assert swap("filled").coverage == 1.0
