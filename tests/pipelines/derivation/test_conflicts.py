"""What a derived column rests on: Lance's rules of conflict between replacements, an embed job's commits and others.

Each commit here is built on a version that the other one has not seen, which is the worst case of two processes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest
from lance import LanceOperation
from lance.dataset import Transaction
from lance.optimize import Compaction

from made.derived import FIELD, embed, expected, first_half, held
from made.tables import SCHEMA, batch, names_in, open_committer, sink_of
from pipelines.derivation.column import OneColumn
from pipelines.derivation.filling import ColumnFilling, DeriveReport
from pipelines.derivation.fragment import Derived, DeriveFragments, _Seen
from pipelines.table.errors import TableError
from pipelines.table.fenced_operations import fenced_update
from pipelines.table.names import TableNames
from pipelines.table.table import Table


@pytest.fixture
def names(tmp_path: Path) -> TableNames:
    """Three fragments of 40 rows, the derived column added and empty."""
    names = names_in(tmp_path)
    embed(names, range(3))
    driver(names).add()
    return names


def driver(names: TableNames) -> ColumnFilling:
    return ColumnFilling(Table(names=names), pa.schema([FIELD]), "vector")


def derived(names: TableNames, fragment: int) -> Derived:
    version = lance.dataset(names.vectors).version
    work = DeriveFragments(
        table=Table(names=names),
        version=version,
        columns=pa.schema([FIELD]),
        source="vector",
        compute=OneColumn(compute=first_half),
    )
    [one] = work([fragment])
    return one


def commit(stale: Any, operation: Any) -> None:
    lance.LanceDataset.commit(stale, Transaction(stale.version, operation), enable_stable_row_ids=True)


def replacement(names: TableNames, fragment: int) -> Any:
    file = derived(names, fragment).data_file
    return LanceOperation.DataReplacement([LanceOperation.DataReplacementGroup(fragment, file)])


def publish(names: TableNames, *fragments: int) -> None:
    one = driver(names)
    one.publish([derived(names, each) for each in fragments], DeriveReport())


def filled(names: TableNames) -> set[int]:
    """Shards, which are fragments here until they are compacted, of which every row has its value."""
    values, right = held(names), expected(range(3))
    return {s for s in range(3) if all(values[s, r] == right[s, r] for r in range(40))}


def test_an_embed_commit_that_lists_a_replaced_fragment_is_refused_and_undoes_nothing(names: TableNames) -> None:
    stale = lance.dataset(names.vectors)
    operation = fenced_update(stale, [])
    publish(names, 0)
    with pytest.raises(OSError, match="preempted by concurrent transaction DataReplacement"):
        commit(stale, operation)
    assert filled(names) == {0}


def test_an_embed_commit_over_other_fragments_goes_through_and_undoes_nothing(names: TableNames) -> None:
    stale = lance.dataset(names.vectors)
    operation = fenced_update(stale, [])
    publish(names, 1, 2)
    commit(stale, operation)
    assert filled(names) == {1, 2}


def test_a_running_embed_job_gets_its_wave_through(names: TableNames) -> None:
    """Its committer last saw the table before the column was filled."""
    committer = open_committer(names)
    receipt = sink_of(names).write(batch(3, range(40)))
    publish(names, 0, 1, 2)
    assert committer.commit([receipt]).vectors == 40
    assert {position: held(names)[position] for position in expected(range(3))} == expected(range(3))
    assert len(held(names)) == 160


def test_a_replacement_of_the_fragment_that_an_embed_commit_lists_is_refused_and_then_built_anew(
    names: TableNames,
) -> None:
    stale = lance.dataset(names.vectors)
    operation, waiting, file = replacement(names, 0), driver(names), derived(names, 0)
    embed(names, range(3, 4))
    with pytest.raises(OSError, match="preempted by concurrent transaction Update"):
        commit(stale, operation)
    waiting.publish([file], DeriveReport())
    assert filled(names) == {0}


def test_the_same_fragment_twice_is_refused_and_the_late_driver_drops_it(names: TableNames) -> None:
    stale = lance.dataset(names.vectors)
    operation, late, file = replacement(names, 0), driver(names), derived(names, 0)
    publish(names, 0)
    with pytest.raises(OSError, match="preempted by concurrent transaction DataReplacement"):
        commit(stale, operation)
    report = DeriveReport()
    late.publish([file], report)
    assert (report.fragments, report.commits, filled(names)) == (0, 0, {0})


def test_a_fragment_whose_source_was_replaced_meanwhile_is_computed_anew(names: TableNames) -> None:
    waiting, file = driver(names), derived(names, 0)
    table = lance.dataset(names.vectors)
    work = DeriveFragments(
        table=Table(names=names),
        version=table.version,
        columns=pa.schema([SCHEMA.field("vector")]),
        source="vector",
        compute=OneColumn(compute=same),
    )
    rewritten = work._write(table, table.get_fragment(0), _Seen())
    commit(table, LanceOperation.DataReplacement([LanceOperation.DataReplacementGroup(0, rewritten)]))
    waiting.reload()
    report = DeriveReport()
    waiting.publish([file], report)
    assert (report.fragments, filled(names)) == (0, set())


def same(rows: pa.Table) -> pa.Array:
    return rows["vector"].combine_chunks()


def test_a_compaction_and_a_replacement_refuse_each_other(names: TableNames) -> None:
    stale = lance.dataset(names.vectors)
    operation = replacement(names, 1)
    rewritten = [task.execute(stale) for task in Compaction.plan(stale, {"target_rows_per_fragment": 10_000}).tasks]
    publish(names, 0)
    with pytest.raises(OSError, match="preempted by concurrent transaction DataReplacement"):
        Compaction.commit(stale, rewritten)
    assert filled(names) == {0}
    lance.dataset(names.vectors).optimize.compact_files()
    with pytest.raises(OSError, match="preempted by concurrent transaction Rewrite"):
        commit(stale, operation)
    assert filled(names) == {0}


@pytest.mark.parametrize(
    "happening",
    [
        lambda names: lance.dataset(names.vectors).delete("shard = 0 AND row < 5"),
        lambda names: lance.dataset(names.vectors).create_scalar_index("id", "BTREE"),
        lambda names: open_committer(names).set_metadata({"key": "value"}),
    ],
    ids=["delete", "index", "metadata"],
)
def test_what_does_not_conflict(names: TableNames, happening: Callable[[TableNames], object]) -> None:
    stale = lance.dataset(names.vectors)
    operation = replacement(names, 0)
    happening(names)
    commit(stale, operation)
    values = {position: value for position, value in held(names).items() if position[0] == 0}
    assert values == {position: expected(range(1))[position] for position in values}
    assert len(values) in (35, 40)


def test_a_delete_built_before_a_replacement_keeps_it(names: TableNames) -> None:
    stale = lance.dataset(names.vectors)
    publish(names, 0)
    stale.delete("shard = 0 AND row < 5")
    values = held(names)
    assert [values[0, row] for row in range(5, 40)] == [expected(range(1))[0, row] for row in range(5, 40)]
    assert len(values) == 115


@pytest.mark.parametrize("meaning", ["another", "the same"])
def test_values_for_a_column_that_was_made_anew_meanwhile_are_not_published(names: TableNames, meaning: str) -> None:
    one, staged = driver(names), derived(names, 0)
    dataset = lance.dataset(names.vectors)
    dataset.drop_columns([FIELD.name])
    anew = FIELD if meaning == "the same" else FIELD.with_metadata({b"made.by": b"the second half"})
    dataset.add_columns(pa.schema([anew]))
    if meaning == "another":
        with pytest.raises(TableError, match="made anew while it was being filled"):
            one.publish([staged], DeriveReport())
    else:
        one.publish([staged], DeriveReport())
        publish(names, 0)
    assert filled(names) == (set() if meaning == "another" else {0})
