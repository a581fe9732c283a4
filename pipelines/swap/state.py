"""What is known of a model swap: a record in the table's metadata, and which step may follow which."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.table.errors import RefusedError, TableError

SWAP_KEY = "pixlake.swap"
"""Key of the vector table's metadata. It stays when a swap is over, and says what the last one was."""

SwapState = Literal[
    "backfill",
    "filled",
    "indexed",
    "gated",
    "flipping",
    "flipped",
    "rolling_back",
    "rolled_back",
    "finishing",
    "finished",
    "abandoning",
    "abandoned",
]
Step = Literal["fill", "index", "gate", "flip", "rollback", "finish", "abandon"]

_GOES: dict[Step, tuple[tuple[SwapState, ...], SwapState]] = {
    # What is filled is filled again for rows that came since, and a gate that failed is tried again.
    "fill": (("backfill", "filled", "indexed", "gated", "rolled_back"), "filled"),
    "index": (("filled",), "indexed"),
    "gate": (("indexed", "gated"), "gated"),
    "flip": (("gated", "flipping"), "flipping"),
    "rollback": (("flipped", "rolling_back"), "rolling_back"),
    "finish": (("flipped", "finishing"), "finishing"),
    "abandon": (("backfill", "filled", "indexed", "gated", "rolled_back", "abandoning"), "abandoning"),
}
"""Step -> the states in which it may be taken, and the state after it."""

_GOES_FOR_GOOD: dict[Step, tuple[tuple[SwapState, ...], SwapState]] = {
    "fill": (("backfill", "filled"), "filled"),
    "finish": (("filled", "finishing"), "finishing"),
    "abandon": (("backfill", "filled", "abandoning"), "abandoning"),
}
"""The same of a column that is added for good: there is nothing to flip."""

_DONE: dict[SwapState, SwapState] = {
    "flipping": "flipped",
    "rolling_back": "rolled_back",
    "finishing": "finished",
    "abandoning": "abandoned",
}
"""State in which columns are being changed -> the one in which they have been."""

_WHY: dict[SwapState, str] = {
    "backfill": "its column is still being filled; `pixlake swap {table}` goes on with it",
    "filled": "its column has no index yet; `pixlake swap {table}` goes on",
    "indexed": "its gates were not measured yet; `pixlake swap {table}` goes on",
    "gated": "it was not flipped; `pixlake swap {table}` flips it, and --abandon gives it up",
    "flipping": "a flip was cut off; `pixlake swap {table}` ends it",
    "flipped": "it was flipped; --rollback takes it back, --finish drops the old column",
    "rolling_back": "a rollback was cut off; `pixlake swap {table} --rollback` ends it",
    "rolled_back": "it was rolled back; `pixlake swap {table}` flips it again, --abandon drops its column",
    "finishing": "its old column is being dropped; `pixlake swap {table} --finish` ends it",
    "finished": "it is finished, and its old column gone; name a model with --model to begin another",
    "abandoning": "it is being given up; `pixlake swap {table} --abandon` ends it",
    "abandoned": "it was given up; name a model with --model to begin another",
}

_WHY_FOR_GOOD: dict[SwapState, str] = {
    **_WHY,
    "backfill": "it is still being filled; `pixlake add-column {table}` goes on with it, and with --abandon drops it",
    "filled": "it is filled, and what it was filled from not removed yet; `pixlake add-column {table}` ends it",
    "finishing": "what it was filled from is being removed; `pixlake add-column {table}` ends it",
    "finished": "it is filled; name another model with --model",
    "abandoning": "it is being dropped; `pixlake add-column {table} --abandon` ends it",
}


class Swap(BaseModel):
    """One swap, or one column added for good."""

    model_config = ConfigDict(frozen=True)

    id: str
    state: SwapState
    kind: Literal["swap", "add"] = "swap"
    """`add`: the new column stays beside the others, and nothing is flipped."""
    column: str
    """The column that searches use: the old model's until the flip, the new one's from then on. Of `add` the new one's
    name."""
    there: bool = False
    """Of `add`: the column was there before, and is filled again where it has nothing."""
    old_model: str = ""
    new_model: str
    settings: dict[str, Any]
    """The new column's model: a `ModelConfig`, JSON-ready."""
    started_at: str
    passes: int = 0
    """Passes of the backfill that were begun."""
    rows: int = 0
    """Live rows of the table when it was last filled."""
    unfilled: dict[str, int] = {}
    """Live rows without a new vector, by class: why."""
    gates: dict[str, Any] | None = None
    """The last report of the gates, JSON-ready."""
    gates_passed: bool | None = None
    insisted: tuple[str, ...] = ()
    """Gates that had failed, and other reasons against a flip, when it was insisted on."""
    flipped_at: str | None = None
    ended_at: str | None = None
    """When it was rolled back, finished or abandoned."""

    @property
    def over(self) -> bool:
        """Whether another swap may begin."""
        return self.state in ("finished", "abandoned")

    @property
    def making(self) -> str:
        """The new column's name until the flip, and again after a rollback."""
        return self.column if self.kind == "add" else next_name(self.column)

    @property
    def new_column(self) -> str:
        """The new column's name in this state."""
        return self.column if self.state == "flipped" else self.making

    @property
    def coverage(self) -> float:
        """Share of the live rows that have a new vector, as of the last fill; 1 for a table without rows."""
        return 1.0 - sum(self.unfilled.values()) / self.rows if self.rows else 1.0


def next_name(column: str) -> str:
    """What a column's successor is called until the flip."""
    return f"{column}_next"


def before_name(column: str) -> str:
    """What a column's predecessor is called from the flip on."""
    return f"{column}_before"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_swap(metadata: Mapping[str, str]) -> Swap | None:
    """The last swap of the table; None where there was none. Raises `TableError` for a record of another release."""
    stored = metadata.get(SWAP_KEY)
    try:
        return None if stored is None else Swap.model_validate_json(stored)
    except ValidationError as error:
        raise TableError(
            f"what is recorded of the table's swap was written by another release of Pixlake, or damaged "
            f"({error.error_count()} fields)"
        ) from None


def advance(swap: Swap, step: Step, table: str, **changes: Any) -> Swap:
    """The swap after a step, or at the beginning of one that changes columns. Raises `RefusedError` where the step
    cannot be taken, with what can."""
    goes = _GOES_FOR_GOOD if swap.kind == "add" else _GOES
    allowed, after = goes.get(step, ((), swap.state))
    if swap.state not in allowed:
        raise RefusedError(refusal(swap, step, table))
    return swap.model_copy(update={"state": after, **changes})


def done(swap: Swap) -> Swap:
    """The swap after its columns were changed. Raises `ValueError` where none were being changed."""
    if swap.state not in _DONE:
        raise ValueError(f"no columns are being changed in state {swap.state}")
    time = "flipped_at" if swap.state == "flipping" else "ended_at"
    return swap.model_copy(update={"state": _DONE[swap.state], time: now()})


def refusal(swap: Swap, step: str, table: str) -> str:
    what = "column" if swap.kind == "add" else "swap"
    why = (_WHY_FOR_GOOD if swap.kind == "add" else _WHY)[swap.state].format(table=table)
    return f"table {table}: cannot {step} the {what} {swap.id} ({swap.new_model}): {why}"


def check_may_begin(swap: Swap | None, table: str) -> None:
    """Raises `RefusedError` while another swap is not over."""
    if swap is not None and not swap.over:
        raise RefusedError(refusal(swap, "begin another beside", table))
