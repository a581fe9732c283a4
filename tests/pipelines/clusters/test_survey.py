"""Sizes, cohesion and rows near and far, held against NumPy on the same columns."""

from datetime import UTC, datetime
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa

from pipelines.clusters.survey import Best, survey_clusters

ROWS, GROUPS = 4000, 7
RANDOM = np.random.default_rng(0)
CLUSTER, COSINE = RANDOM.integers(0, GROUPS - 1, ROWS), RANDOM.permutation(ROWS).astype(np.float32) / ROWS
GONE, NONE = RANDOM.random(ROWS) < 0.1, RANDOM.random(ROWS) < 0.05


def table() -> pa.Table:
    gone = [datetime(2026, 11, 1, tzinfo=UTC) if each else None for each in GONE]
    return pa.table(
        {
            "id": [f"i{row}" for row in range(ROWS)],
            "uri": [f"/{row}.jpg" for row in range(ROWS)],
            "cluster": pa.array(CLUSTER, pa.int32(), mask=NONE),
            "cluster_cosine": pa.array(COSINE, mask=NONE),
            "deleted_at": pa.array(gone, pa.timestamp("us", tz="UTC")),
        }
    )


def test_figures_are_those_of_the_rows_that_are_there(tmp_path: Path) -> None:
    dataset = lance.write_dataset(table(), tmp_path / "t.lance", max_rows_per_file=700)
    survey = survey_clusters(dataset, "cluster", "cluster_cosine", GROUPS, representatives=3, outliers=10)
    there = ~GONE & ~NONE
    assert survey.unassigned == (NONE & ~GONE).sum()
    for group in range(GROUPS - 1):
        own = np.flatnonzero(there & (group == CLUSTER))
        assert survey.sizes[group] == len(own)
        np.testing.assert_allclose(survey.cohesions[group], COSINE[own].mean(), rtol=1e-6)
        assert survey.least[group] == COSINE[own].min()
        nearest = own[np.argsort(-COSINE[own])][:3]
        of = survey.nearest.filter(pa.compute.equal(survey.nearest["cluster"], group))
        assert of["id"].to_pylist() == [f"i{row}" for row in nearest]
    assert survey.sizes[-1] == 0
    assert np.isnan([survey.cohesions[-1], survey.least[-1]]).all()
    farthest = np.flatnonzero(there)[np.argsort(COSINE[there])][:10]
    assert survey.farthest["id"].to_pylist() == [f"i{row}" for row in farthest]
    np.testing.assert_array_equal(survey.farthest["cosine"].to_numpy(), COSINE[farthest])


def test_what_another_tool_has_written_there_counts_nowhere_else(tmp_path: Path) -> None:
    rows = table().slice(0, 8).drop_columns(["deleted_at"])
    clusters, cosines = [0, 1, GROUPS, -1, None, 0, 2_000_000_000, 1], [0.5, 0.25, 0.9, 0.9, 0.9, None, 0.9, 0.75]
    rows = rows.set_column(2, "cluster", pa.array(clusters, pa.int32()))
    rows = rows.set_column(3, "cluster_cosine", pa.array(cosines, pa.float32()))
    dataset = lance.write_dataset(rows, tmp_path / "t.lance")
    survey = survey_clusters(dataset, "cluster", "cluster_cosine", GROUPS, representatives=3, outliers=10)
    assert (survey.unassigned, survey.changed) == (1, 4)
    assert survey.sizes.tolist() == [1, 2] + [0] * (GROUPS - 2)
    assert survey.cohesions[:2].tolist() == [0.5, 0.5]
    assert survey.farthest["id"].to_pylist() == ["i1", "i0", "i7"]


def test_of_rows_as_good_those_that_came_first_are_kept() -> None:
    rows = table().rename_columns(["id", "uri", "cluster", "cosine", "deleted_at"]).drop_columns(["deleted_at"])
    best = Best(2, 2)
    for start in range(0, 12, 3):
        best.add(np.array([0, 1, 0]), np.array([0.5, 0.5, 0.1 * start], np.float32), rows.slice(start, 3))
    assert best.rows["id"].to_pylist() == ["i11", "i8", "i1", "i4"]
