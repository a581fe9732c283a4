"""Compaction beside runs that are on, columns that are being filled, and other tools."""

from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from lance.optimize import Compaction

from made.derived import FIELD, embed, expected, first_half, held
from made.tables import VECTOR, batch, names_in, open_committer, positions, read, sink_of, vector_of
from pipelines.commits.committer import Committer
from pipelines.derivation.column import OneColumn, derive_column
from pipelines.derivation.filling import ColumnFilling, DeriveReport
from pipelines.derivation.fragment import DeriveFragments
from pipelines.table.errors import TableError
from pipelines.table.table import Table
from pipelines.versions import compact as module
from pipelines.versions.compact import Compacted, compact

SHARDS, ROWS = 6, 10


@pytest.fixture
def committer(tmp_path: Path) -> Committer:
    committer = open_committer(names_in(tmp_path))
    for shard in range(SHARDS):
        commit(committer, shard)
    return committer


def commit(committer: Committer, shard: int) -> None:
    committer.commit([sink_of(committer.names).write(batch(shard, range(ROWS), failed=[1]))])


def of(committer: Committer) -> "lance.LanceDataset":
    return lance.dataset(committer.names.vectors)


def compacted(committer: Committer, **options: int) -> Compacted:
    return compact(committer.names.vectors, Table(names=committer.names).storage, **options)  # type: ignore[arg-type]


def sizes(dataset: "lance.LanceDataset") -> list[int]:
    return [fragment.metadata.num_rows for fragment in dataset.get_fragments()]


def check_rows(committer: Committer, *more: int) -> None:
    """Every position once, and each row with its own vector."""
    shards = [*range(SHARDS), *more]
    there = [row for row in range(ROWS) if row != 1]
    assert read(committer.names.vectors) == sum((positions(shard, there) for shard in shards), positions(0, []))
    rows = of(committer).to_table(columns=["shard", "row", "vector"]).to_pylist()
    assert all(np.array_equal(row["vector"], vector_of(row["shard"], row["row"])) for row in rows)


def test_small_fragments_become_one(committer: Committer) -> None:
    done = compacted(committer)
    assert done == Compacted(fragments_before=SHARDS, fragments=1, rows=SHARDS * (ROWS - 1))
    check_rows(committer)


def test_where_nothing_is_due_nothing_is_committed(committer: Committer) -> None:
    compacted(committer)
    version = of(committer).version
    assert compacted(committer) == Compacted(fragments_before=1, fragments=1)
    assert of(committer).version == version


def test_fragments_that_are_large_enough_are_left(committer: Committer) -> None:
    compacted(committer, target_rows=20)
    assert max(sizes(of(committer))) >= 20
    version = of(committer).version
    compacted(committer, target_rows=20)
    assert of(committer).version == version


def test_rows_that_are_deleted_go_from_a_tenth_on(committer: Committer) -> None:
    compacted(committer)
    of(committer).delete("shard = 0 AND row < 4")
    assert compacted(committer).rows == 0, "3 of 54"
    of(committer).delete("shard = 0 AND row < 8")
    assert compacted(committer).rows == SHARDS * (ROWS - 1)
    assert [fragment.metadata.deletion_file for fragment in of(committer).get_fragments()] == [None]


def test_each_commit_is_of_a_bounded_number_of_rows(committer: Committer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMIT_ROWS", 20)
    before, seen = of(committer).version, list[int]()
    compact(committer.names.vectors, Table(names=committer.names).storage, target_rows=20, on_rows=seen.append)
    assert of(committer).version - before > 1
    assert seen == sorted(seen)
    check_rows(committer)


def test_a_run_that_is_on_goes_on(committer: Committer) -> None:
    """Its fragments were staged before, and it commits afterwards: its fence has been compacted away."""
    receipt = sink_of(committer.names).write(batch(8, range(ROWS), failed=[1]))
    compacted(committer)
    committer.commit([receipt])
    check_rows(committer, 8)


class _Compaction:
    """Lance's own, with something that happens after each plan."""

    commit = Compaction.commit

    def __init__(self, does: Callable[[], None], times: int) -> None:
        self.does, self.left = does, times

    def plan(self, dataset: "lance.LanceDataset", options: dict[str, object]) -> object:
        found = Compaction.plan(dataset, options)
        if self.left:
            self.left -= 1
            self.does()
        return found


def test_it_gives_way_to_a_run_that_commits_meanwhile(committer: Committer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's commit lists the lowest fragment, which is compacted at the next time."""
    monkeypatch.setattr(module, "Compaction", _Compaction(lambda: commit(committer, 8), 1))
    done = compacted(committer)
    assert done.gave_way
    assert sizes(of(committer)) == [9, 54]
    check_rows(committer, 8)
    monkeypatch.undo()
    assert compacted(committer).fragments == 1
    check_rows(committer, 8)


def test_it_leaves_what_others_write_to_all_the_time(committer: Committer, monkeypatch: pytest.MonkeyPatch) -> None:
    def delete() -> None:
        of(committer).delete(f"shard = 3 AND row = {rows.pop()}")

    rows = [8, 7, 6]
    monkeypatch.setattr(module, "Compaction", _Compaction(delete, 2))
    done = compacted(committer)
    assert done == Compacted(fragments_before=SHARDS, fragments=SHARDS, rows=0, gave_way=True)
    assert sum(sizes(of(committer))) == SHARDS * (ROWS - 1) - 2


def test_fragments_without_a_vector_column_are_left_until_they_have_it(tmp_path: Path) -> None:
    """While a column is being filled, that a fragment lacks it says that it is still to be done."""
    table = Table(names=names_in(tmp_path))
    embed(table.names, range(SHARDS))
    field = FIELD.with_metadata({**VECTOR.metadata, **FIELD.metadata})
    filling = ColumnFilling(table, pa.schema([field]), "vector")
    filling.add()
    derive = DeriveFragments(
        table=table,
        version=filling.dataset.version,
        columns=pa.schema([field]),
        source="vector",
        compute=OneColumn(compute=first_half),
    )
    filling.publish(derive([2, 3]), DeriveReport())
    assert compact(table.uri, table.storage) == Compacted(fragments_before=SHARDS, fragments=5, unfilled=4, rows=80)
    assert derive_column(table, field, "vector", first_half).fragments == 4
    assert held(table.names) == expected(range(SHARDS))
    assert compact(table.uri, table.storage).fragments == 1
    assert held(table.names) == expected(range(SHARDS))


def test_a_table_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="there is no table"):
        compact(f"{tmp_path}/none.lance", Table(names=names_in(tmp_path)).storage)
