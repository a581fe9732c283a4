"""How far a search must look for a target: the least that reaches it, and the best there is where nothing does."""

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from operators.base.arrays import vectors_from_numpy
from pipelines.index.exact import draw_queries, exact_neighbors
from pipelines.index.recall import DEPTH, IndexTrial, K, Reached, Settings, find_settings, probe_steps
from pipelines.neighbours.nearest import Nearest
from pipelines.neighbours.recall import TIES, right_rows
from pipelines.table.table import Table


def recall(settings: Settings) -> float:
    """A made-up index: half of what is there without refinement, and more with every partition."""
    return min(1.0, settings.nprobes / 32) * (0.5 if settings.refine is None else 1 - 1 / settings.refine)


def test_the_least_refinement_and_with_it_the_fewest_partitions() -> None:
    assert find_settings(recall, partitions=1000, target=0.78) == Reached(Settings(32, 5), 0.8)
    assert find_settings(recall, partitions=1000, target=0.4) == Reached(Settings(32, None), 0.5)
    assert find_settings(recall, partitions=1000, target=0.2) == Reached(Settings(16, None), 0.25)


def test_the_best_seen_where_nothing_reaches_the_target() -> None:
    assert find_settings(recall, partitions=1000, target=0.99) == Reached(Settings(250, 50), 0.98)


def test_given_numbers_are_the_only_ones_tried() -> None:
    assert find_settings(recall, partitions=1000, target=0.5, nprobes=7) == Reached(Settings(7, 50), 0.98 * 7 / 32)
    assert find_settings(recall, partitions=1000, target=0.85, refine=10).settings == Settings(32, 10)


@pytest.mark.parametrize(("partitions", "steps"), [(1, [1]), (3, [3]), (40, [4, 8, 16, 32, 40]), (4, [4])])
def test_partitions_looked_into(partitions: int, steps: list[int]) -> None:
    assert probe_steps(partitions) == steps
    assert probe_steps(4000)[-2:] == [512, 1000]


def test_copies_of_an_image_count_as_found(tmp_path: Path) -> None:
    """Of every vector as many copies as are known of: any ten of the others are right, whichever an index gives."""
    vectors = np.random.default_rng(0).normal(size=(20, 16)).astype("f2").repeat(DEPTH + 1, axis=0)
    dataset = lance.write_dataset(pa.table({"vector": vectors_from_numpy(vectors)}), str(tmp_path / "t.lance"))
    dataset.create_index("vector", "IVF_FLAT", metric="cosine", num_partitions=4)
    dataset = lance.dataset(dataset.uri)
    queries = draw_queries(dataset, "vector", 30, seed=0)
    exact = exact_neighbors(Table.of(dataset.uri), dataset.version, "vector", queries, "cosine", DEPTH, [0])
    trial = IndexTrial(dataset, "vector", "cosine", queries, exact.nearest)
    assert trial.recall(Settings(4, None)) == 1.0
    assert all(len(right_rows(true, K)) == DEPTH == K + TIES for true in trial.truth)
    elsewhere = [Nearest(row_ids=true.row_ids + 10_000, scores=true.scores) for true in trial.truth]
    worse = IndexTrial(dataset, "vector", "l2", queries, elsewhere)
    assert worse.recall(Settings(4, None)) == 0.0
