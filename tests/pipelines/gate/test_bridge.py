"""A bridge fitted on a table: what it loses is known for a rotation and for vectors that have nothing to do with each
other; the same rows give the same file."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from made.two_columns import NEW, OLD, rotation, unit, write
from made.vectors import clustered
from operators.base.errors import UserError
from operators.storage.artifacts import ArtifactError
from pipelines.gate.bridge import fit_bridge
from pipelines.gate.bridge_sums import vector_pairs
from pipelines.space.bridge import BridgeError, bridged_column, open_bridge, read_bridges
from pipelines.table.table import Table

ROWS, DIM = 1200, 16


@pytest.fixture(scope="module")
def old() -> np.ndarray:
    return clustered(ROWS, DIM)


def fit(table: Table) -> dict[str, object]:
    fit_bridge(table, old=OLD, new=NEW, name="next")
    return read_bridges(table.latest().metadata)


def test_an_exact_rotation_loses_nothing(tmp_path: Path, old: np.ndarray) -> None:
    turn = rotation(DIM)
    table = write(tmp_path, old, (old @ turn.T).astype(np.float32))
    seen = []
    record = fit_bridge(table, old=OLD, new=NEW, name="next", on_rows=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (ROWS, ROWS)
    assert record.loss.recall == pytest.approx(1, abs=1e-3)
    assert record.loss.overlap == pytest.approx(1, abs=1e-3)
    assert record.loss.cosine == pytest.approx(1, abs=1e-5)
    assert (record.loss.k, record.rows + 2 * record.loss.rows) == (10, pytest.approx(ROWS, abs=60))
    bridge = open_bridge("t", table.latest().metadata, "next", table.artifacts)
    assert np.abs(bridge.bridged((old @ turn.T).astype(np.float32)) - old).max() < 1e-4
    assert bridged_column("t", table.latest().schema, bridge.record, None) == OLD


def test_vectors_without_any_relation_are_near_chance(tmp_path: Path, old: np.ndarray) -> None:
    other = unit(np.random.default_rng(8).normal(size=(ROWS, 24)))
    record = fit_bridge(write(tmp_path, old, other), old=OLD, new=NEW, name="next")
    assert record.loss.recall < 0.1
    assert record.loss.overlap < 0.1
    assert record.loss.cosine < 0.6


def test_a_bridge_of_other_dimensions_keeps_what_a_linear_map_can(tmp_path: Path, old: np.ndarray) -> None:
    wider = unit(old @ np.random.default_rng(3).normal(size=(DIM, 40)))
    record = fit_bridge(write(tmp_path, old, wider), old=OLD, new=NEW, name="next")
    assert record.kind == "ridge"
    assert record.loss.cosine > 0.99
    assert record.loss.recall > 0.6


def test_only_rows_with_both_vectors_count(tmp_path: Path, old: np.ndarray) -> None:
    turn = rotation(DIM)
    new = (old @ turn.T).astype(np.float32)
    new[600:] = unit(np.random.default_rng(1).normal(size=(600, DIM)))
    record = fit_bridge(write(tmp_path, old, new, without=range(600, ROWS)), old=OLD, new=NEW, name="next")
    assert record.loss.recall == pytest.approx(1, abs=1e-3)
    assert record.rows < 600


def test_the_same_rows_give_the_same_file_whatever_the_fragments(tmp_path: Path, old: np.ndarray) -> None:
    table = write(tmp_path, old, unit(old + 0.1))
    first = fit_bridge(table, old=OLD, new=NEW, name="one")
    table.latest().optimize.compact_files()
    second = fit_bridge(table, old=OLD, new=NEW, name="two")
    assert first.artifact == second.artifact
    assert set(read_bridges(table.latest().metadata)) == {"one", "two"}


def test_too_few_rows_are_refused_before_anything_is_written(tmp_path: Path, old: np.ndarray) -> None:
    table = write(tmp_path, old[:8], old[:8], without=range(1, 8))
    with pytest.raises(UserError, match="too few rows have a vector in both vector and vector_new"):
        fit_bridge(table, old=OLD, new=NEW, name="next")
    assert read_bridges(table.latest().metadata) == {}


def test_a_bridge_that_is_gone_or_leads_elsewhere_is_refused(tmp_path: Path, old: np.ndarray) -> None:
    table = write(tmp_path, old, unit(old + 0.1))
    with pytest.raises(BridgeError, match="it has none; `pixlake swap` fits one"):
        open_bridge("t", table.latest().metadata, "next", table.artifacts)
    record = fit_bridge(table, old=OLD, new=NEW, name="next")
    schema = table.latest().schema
    with pytest.raises(BridgeError, match="no bridge 'other'; there: next"):
        open_bridge("t", table.latest().metadata, "other", table.artifacts)
    with pytest.raises(BridgeError, match=r"does not lead to vector_new.* it leads to: vector"):
        bridged_column("t", schema, record, NEW)
    with pytest.raises(BridgeError, match="no vector column 'x'"):
        bridged_column("t", schema, record, "x")
    # The space moves along when a column is renamed.
    table.latest().alter_columns({"path": OLD, "name": "vector_before"})
    assert bridged_column("t", table.latest().schema, record, None) == "vector_before"
    table.latest().drop_columns(["vector_before"])
    with pytest.raises(BridgeError, match="no longer there"):
        bridged_column("t", table.latest().schema, record, None)
    Path(record.artifact.uri).unlink()
    with pytest.raises(ArtifactError):
        open_bridge("t", table.latest().metadata, "next", table.artifacts)


def test_lists_are_paired_one_by_one_and_rows_of_other_lengths_left_out() -> None:
    new = pa.array([[[1, 2], [3, 4]], [[5, 6]], None, [[7, np.nan]]], pa.list_(pa.list_(pa.float32(), 2)))
    old = pa.array([[[1], [2]], [[3], [4]], [[5]], [[6]]], pa.list_(pa.list_(pa.float32(), 1)))
    of_new, of_old = vector_pairs(new, old)
    assert of_new.tolist() == [[1, 2], [3, 4]]
    assert of_old.tolist() == [[1], [2]]


def test_what_it_loses_is_measured_on_rows_that_it_was_not_fitted_on(tmp_path: Path) -> None:
    """With as many numbers as rows, a map fits unrelated vectors exactly, and only those that it has seen."""
    random = np.random.default_rng(4)
    table = write(tmp_path, unit(random.normal(size=(200, 24))), unit(random.normal(size=(200, 256))))
    record = fit_bridge(table, old=OLD, new=NEW, name="next")
    assert record.rows + 2 * record.loss.rows == pytest.approx(200, abs=30)
    assert abs(record.loss.cosine) < 0.3
    assert record.loss.recall < 0.25
