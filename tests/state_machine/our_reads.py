"""`pixlake search`, `export`, `describe`, `failures` and `evaluate`: answers that the rows of the model give too."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from jobs.describe import DescribeConfig
from jobs.describe import run as describe
from jobs.evaluate import EvaluateConfig
from jobs.evaluate import run as evaluate
from jobs.export import ExportConfig
from jobs.export import run as export
from jobs.failures import FailuresConfig
from jobs.failures import run as failures
from jobs.search import SearchConfig
from jobs.search import run as search
from state_machine.expected_codes import numbers_of
from state_machine.filters import drawn_filter
from state_machine.operations import has_rows, has_table, operation
from state_machine.read_back import Row, difference, plain_rows, position_of
from state_machine.source_states import KEPT, Spec
from state_machine.world import THEIR_URI, World, is_their, must, ours


def _unit(row: Row, world: World) -> np.ndarray:
    assert world.vectors is not None
    numbers = numbers_of(row["vector"], world.vectors.schema.field("vector").type)
    assert numbers is not None
    return numbers / np.linalg.norm(numbers)


def _score(metric: str, row: Row, query: Row, world: World) -> float:
    """Vectors have unit length, but for the last bits of float16."""
    one, other = _unit(row, world), _unit(query, world)
    return -float(np.linalg.norm(one - other)) if metric == "l2" else float(one @ other)


def _query(world: World, random: random.Random) -> Row | None:
    """A row whose id is its own."""
    assert world.vectors is not None
    ids = Counter(row["id"] for row in world.vectors.rows)
    alone = [row for row in world.finite() if ids[row["id"]] == 1]
    return random.choice(alone) if alone else None


def _exhaustive(world: World) -> bool:
    """Whether every index on the vectors is looked into whole: none of ours has two partitions."""
    assert world.vectors is not None
    return not any(name.startswith("vector_") for name, _ in world.vectors.indexes)


def _search(world: World, random: random.Random, where: str | None, rows: list[Row]) -> None:
    query = _query(world, random)
    if query is None:
        return
    k, exact = random.randint(1, 12), random.random() < 0.3
    config = SearchConfig(table=world.table, id=query["id"], k=k, where=where, exact=exact, column="vector")
    found, refusal = ours(world, lambda: search(config))
    must(refusal is None, f"search: {refusal}")
    about = f"search --id {query['id']} -k {k}{' --exact' * exact} --where {where}"
    scores = {(*position_of(row), row["id"]): _score(found.metric, row, query, world) for row in rows}
    there = [(*position_of(result), result["id"]) for result in found.results]
    must(len(set(there)) == len(there), f"{about}: rows come twice: {there}")
    must(set(there) <= set(scores), f"{about}: rows that are not there or do not match: {set(there) - set(scores)}")
    must(len(there) == min(k, len(rows)), f"{about}: {len(there)} results of {len(rows)} rows")
    for place, result in zip(there, found.results, strict=True):
        must(abs(result["score"] - scores[place]) < 5e-3, f"{about}: {place} scores {result['score']}, {scores[place]}")
    if exact or _exhaustive(world):
        best = sorted(scores.values(), reverse=True)[:k]
        got = [result["score"] for result in found.results]
        must(np.allclose(got, best, atol=5e-3), f"{about}: scores {got}, the best are {best}")


@operation(has_rows, weight=3)
def search_by_id(world: World, random: random.Random) -> None:
    _search(world, random, None, world.finite())


@operation(has_rows, weight=3)
def search_by_filter(world: World, random: random.Random) -> None:
    where, holds = drawn_filter(world, random)
    _search(world, random, where, [row for row in world.finite() if holds(row)])


@operation(has_rows)
def search_by_an_id_that_is_gone(world: World, random: random.Random) -> None:
    assert world.vectors is not None
    ids = {row["id"] for row in world.vectors.rows}
    gone = {row["id"] for state in list(world.earlier_vectors.values())[-5:] for row in state.rows} - ids
    if gone:
        config = SearchConfig(table=world.table, id=random.choice(sorted(gone)), column="vector")
        found, refusal = ours(world, lambda: search(config))
        must(refusal is not None, f"search --id finds a row that is gone: {config.id}, {found}")


@operation(has_rows, weight=2)
def export_by_filter(world: World, random: random.Random) -> None:
    assert world.vectors is not None
    where, holds = drawn_filter(world, random) if random.random() < 0.7 else (None, lambda row: True)
    out = str(world.folder / f"export-{next(world.numbers)}")
    config = ExportConfig(table=world.table, out=out, where=where, rows_per_file=random.choice([5, 1000]))
    done, refusal = ours(world, lambda: export(config))
    must(refusal is None, f"export --where {where}: {refusal}")
    wanted = [row for row in world.vectors.rows if holds(row)]
    files = sorted(Path(out).rglob("*.parquet"))
    there = [row for path in files for row in plain_rows(pq.read_table(path))]
    must(done.rows == len(wanted) == len(there), f"export --where {where}: {done.rows} of {len(wanted)}, {len(there)}")
    lost, came = difference(wanted, there, world.vectors.columns)
    must(not lost and not came, f"export --where {where}: lacks {lost}, holds {came}")


@operation(has_rows)
def export_for_an_import(world: World, random: random.Random) -> None:
    """As npy, which then is a source of its own."""
    rows = [row for row in world.finite() if row["uri"] is not None and not is_their(row)]
    if len(world.sources.there) > 5 or world.reasons() or not rows:
        return
    out = str(world.folder / f"export-{next(world.numbers)}")
    where = f"uri NOT LIKE '{THEIR_URI}%'"
    config = ExportConfig(table=world.table, out=out, format="npy", column=("vector",), where=where)
    _, refusal = ours(world, lambda: export(config))
    must(refusal is None, f"export to npy: {refusal}")
    there = [row for path in sorted(Path(out).rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    by_place = {position_of(row): row for row in rows}
    must(Counter(map(position_of, there)) == Counter(map(position_of, rows)), f"export to npy: {len(there)} rows")
    world.sources.add_exported(out, [_spec(by_place[position_of(row)], world) for row in there])


def _spec(row: Row, world: World) -> Spec:
    kept: tuple[Any, ...] = tuple(row[name] for name in KEPT.names)
    return Spec(row["id"], row["uri"], "good", tuple(map(float, _unit(row, world))), kept)


@operation(has_table, weight=2)
def describe_table(world: World, random: random.Random) -> None:
    assert world.vectors is not None
    assert world.failures is not None
    told, refusal = ours(world, lambda: describe(DescribeConfig(table=world.table)))
    must(refusal is None, f"describe: {refusal}")
    must(told.vectors == len(world.vectors.rows), f"describe: {told.vectors} vectors of {len(world.vectors.rows)}")
    must(told.failures == len(world.failures.rows), f"describe: {told.failures} failures of {len(world.failures.rows)}")
    must(set(told.columns) == world.vectors.columns, f"describe: columns {told.columns}")


@operation(has_table)
def list_failures(world: World, random: random.Random) -> None:
    assert world.failures is not None
    told, refusal = ours(world, lambda: failures(FailuresConfig(table=world.table, limit=1000)))
    must(refusal is None, f"failures: {refusal}")
    by_class = Counter(row["error_class"] for row in world.failures.rows)
    must(told.by_class == by_class and len(told.rows) == by_class.total(), f"failures: {told.by_class}, not {by_class}")


@operation(has_rows)
def evaluate_table(world: World, random: random.Random) -> None:
    if random.random() < 0.8:
        # Half a second each: for the plot.
        return
    told, refusal = ours(world, lambda: evaluate(EvaluateConfig(table=world.table, queries=3)))
    # The rows of one image are not found by each other.
    must(refusal is None or len({row["id"] for row in world.finite()}) < 2, f"evaluate: {refusal}")
    must(told is None or told.models, "evaluate: nothing")
