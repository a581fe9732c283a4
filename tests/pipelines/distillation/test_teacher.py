"""Which vectors a table has for the rows of a source."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import lance
import numpy as np
import pyarrow as pa
import pytest

from operators.base.arrays import vectors_from_numpy
from operators.base.errors import UserError
from pipelines.distillation import teacher
from pipelines.distillation.teacher import TeacherVectors, principal_rotation, read_teacher, write_turned

ROWS, DIM = 300, 4
VECTORS = np.random.default_rng(0).normal(size=(ROWS, DIM)).astype(np.float32)
VECTORS[7] = 0
GONE, NULL = 9, 11


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> "lance.LanceDataset":
    marks = [datetime(2026, 11, 1, tzinfo=UTC) if row == GONE else None for row in range(ROWS)]
    table = pa.table(
        {
            "id": [f"i{row}" for row in range(ROWS - 1)] + ["i0"],
            "uri": [f"/{row}.jpg" for row in range(ROWS)],
            "sha256": [None if row == 3 else f"{row:064x}" for row in range(ROWS)],
            "deleted_at": pa.array(marks, pa.timestamp("us", tz="UTC")),
            "vector": vectors_from_numpy(VECTORS, np.arange(ROWS) != NULL),
        }
    )
    return lance.write_dataset(table, tmp_path_factory.mktemp("teacher") / "t.lance", max_rows_per_file=97)


def read(dataset: "lance.LanceDataset", ids: list[str | None], uris: list[str] | None = None) -> TeacherVectors:
    names = pa.array(uris or ["none"] * len(ids), pa.string())
    with TemporaryDirectory() as folder:
        # What is mapped stays readable after its file is gone.
        return read_teacher(dataset, "vector", pa.array(ids, pa.string()), names, Path(folder, "teacher.npy"))


def units(rows: list[int]) -> np.ndarray:
    found: np.ndarray = VECTORS[rows] / np.linalg.norm(VECTORS[rows], axis=1, keepdims=True)
    return found


@pytest.mark.parametrize("looked_up", [1, 1 << 20])
def test_vectors_stand_by_the_source_s_rows(
    dataset: "lance.LanceDataset", looked_up: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher, "_LOOKED_UP", looked_up)
    # In an order of their own, one twice, one that is not there, and one without an id.
    found = read(dataset, ["i250", "i5", "not there", "i0", "i5", None])
    assert found.by == "id"
    assert (found.at >= 0).tolist() == [True, True, False, True, True, False]
    assert np.allclose(found.units(np.array([0, 1, 3, 4])), units([250, 5, 0, 5]), atol=1e-3)
    assert (found.stored.dtype, len(found.stored)) == (np.float16, 3)


def test_of_rows_with_the_same_id_the_first_counts_however_far_they_are_from_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher, "_LOOKED_UP", 1)
    rows = {"id": ["a", "b", "a", "c", "a"], "uri": list("vwxyz"), "vector": vectors_from_numpy(VECTORS[:5])}
    # Without marks each file is a batch.
    twice = lance.write_dataset(pa.table(rows), tmp_path / "t.lance", max_rows_per_file=1)
    found = read(twice, ["c", "a"])
    assert np.allclose(found.units(np.arange(2)), units([3, 0]), atol=1e-3)
    assert len(found.stored) == 2


def test_rows_without_a_vector_or_marked_as_deleted_have_none(dataset: "lance.LanceDataset") -> None:
    found = read(dataset, ["i7", f"i{GONE}", f"i{NULL}", "i12"])
    assert (found.at >= 0).tolist() == [False, False, False, True]
    assert np.allclose(found.units(np.array([3])), units([12]), atol=1e-3)


def test_a_changed_image_is_told_where_both_digests_are_known(dataset: "lance.LanceDataset") -> None:
    found = read(dataset, ["i1", "i2", "i3", "i4"])
    now = pa.array([f"{1:064x}", "f" * 64, "f" * 64, None])
    assert found.changed(np.arange(4), now).tolist() == [False, True, False, False]
    assert found.changed(np.array([1, 0]), pa.array([f"{2:064x}", f"{1:064x}"])).tolist() == [False, False]


def test_uris_join_where_no_id_does(dataset: "lance.LanceDataset") -> None:
    found = read(dataset, ["a", "b", "c"], ["/4.jpg", "/x.jpg", "/200.jpg"])
    assert (found.by, (found.at >= 0).tolist()) == ("uri", [True, False, True])
    assert np.allclose(found.units(np.array([0, 2])), units([4, 200]), atol=1e-3)


def test_a_source_without_any_row_in_the_table_is_refused(dataset: "lance.LanceDataset") -> None:
    with pytest.raises(UserError, match=r"none of the 2 images .* by id \(a\) or by URI \(/none.jpg\)"):
        read(dataset, ["a", "b"], ["/none.jpg", "/neither.jpg"])


def test_what_does_not_fit_on_the_disk_is_refused(
    dataset: "lance.LanceDataset", monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, free = [f"i{row}" for row in range(20, 30)], 10 * 2 * DIM
    for there in (free, free - 1):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, there=there: SimpleNamespace(free=there))
        if there == free:
            assert len(read(dataset, wanted).stored) == 10
        else:
            with pytest.raises(UserError, match=r"10 images take .*--sample"):
                read(dataset, wanted)


def test_turned_vectors_keep_their_cosines_and_have_the_most_in_front(tmp_path: Path) -> None:
    loud = np.random.default_rng(1).normal(size=(200, 6)) * [0.1, 0.1, 3, 0.1, 2, 0.1] + [0, 0, 0, 5, 0, 0]
    stored = (loud / np.linalg.norm(loud, axis=1, keepdims=True)).astype(np.float16)
    write_turned(stored, principal_rotation(stored), tmp_path / "turned.npy")
    turned = np.load(tmp_path / "turned.npy").astype(np.float32)
    assert np.allclose(turned @ turned.T, stored.astype(np.float32) @ stored.T.astype(np.float32), atol=5e-3)
    shares = (turned**2).sum(axis=0) / (turned**2).sum()
    assert (np.diff(shares) <= 1e-4).all()
    assert shares[:3].sum() > 0.99
