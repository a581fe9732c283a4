"""The record of a swap written by compare-and-swap, beside runs that hold the term."""

from pathlib import Path

import lance
import pytest

from made.tables import batch, names_in, open_committer, sink_of
from pipelines.derivation.record import DERIVED_PREFIX
from pipelines.swap.columns import take_over
from pipelines.swap.record import note, write
from pipelines.swap.state import Swap, advance, read_swap
from pipelines.table.errors import RefusedError
from pipelines.table.table import Table

SWAP = Swap(id="swap-1", state="backfill", column="vector", new_model="null", settings={}, started_at="2026-11-29")


@pytest.fixture
def table(tmp_path: Path) -> Table:
    names = names_in(tmp_path)
    committer = open_committer(names)
    committer.commit([sink_of(names).write(batch(0, range(5)))])
    table = Table(names=names)
    write(take_over(table, "swap-1"), SWAP)
    return table


def stored(table: Table) -> Swap | None:
    return read_swap(lance.dataset(table.uri).metadata)


def test_a_note_stops_no_run_that_holds_the_term(table: Table) -> None:
    committer = open_committer(table.names, "embed")
    after = note(table, SWAP, advance(SWAP, "fill", "t"))
    assert stored(table) == after
    assert committer.commit([sink_of(table.names).write(batch(1, range(5)))]).vectors == 5


def test_of_two_that_have_read_the_same_one_passes(table: Table) -> None:
    filled, other = advance(SWAP, "fill", "t", rows=5), advance(SWAP, "fill", "t", rows=6)
    note(table, SWAP, filled)
    assert note(table, SWAP, filled) == filled
    with pytest.raises(RefusedError, match="another command has changed the swap swap-1 meanwhile"):
        note(table, SWAP, other)
    assert stored(table) == filled


def test_records_of_derived_columns_get_their_new_names(table: Table) -> None:
    vectors = take_over(table, "swap-1")
    vectors.set_metadata({f"{DERIVED_PREFIX}vector_8": "old", f"{DERIVED_PREFIX}vector_8_next": "new"})
    write(vectors, SWAP, {"vector_8": "vector_8_before", "vector_8_next": "vector_8"})
    held = {key: value for key, value in lance.dataset(table.uri).metadata.items() if key.startswith(DERIVED_PREFIX)}
    assert held == {f"{DERIVED_PREFIX}vector_8_before": "old", f"{DERIVED_PREFIX}vector_8": "new"}
