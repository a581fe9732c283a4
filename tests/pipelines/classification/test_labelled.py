"""Which labelled rows are drawn, and which of them stay together."""

from datetime import UTC, datetime

import lance
import numpy as np
import pyarrow as pa
import pytest

from operators.base.arrays import vectors_from_numpy
from pipelines.classification.labelled import components, draw_labelled, split_groups

ROWS = 600
RANDOM = np.random.default_rng(0)
NAMES = RANDOM.choice(["b", "a", None], ROWS).tolist()
GONE = RANDOM.random(ROWS) < 0.2
VECTORS = RANDOM.normal(size=(ROWS, 4)).astype(np.float16)
VECTORS[5] = 0


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> "lance.LanceDataset":
    marks = [datetime(2026, 11, 1, tzinfo=UTC) if each else None for each in GONE]
    table = pa.table(
        {
            "id": [f"i{row}" for row in range(ROWS)],
            "uri": [f"/{row}.jpg" for row in range(ROWS)],
            "sha256": [f"{row // 2:064x}" for row in range(ROWS)],
            "camera": [f"c{row // 50}" for row in range(ROWS)],
            "label": NAMES,
            "box": pa.array([{"label": each} for each in NAMES]),
            "deleted_at": pa.array(marks, pa.timestamp("us", tz="UTC")),
            "vector": vectors_from_numpy(VECTORS),
        }
    )
    return lance.write_dataset(table, tmp_path_factory.mktemp("labelled") / "t.lance", max_rows_per_file=97)


@pytest.mark.parametrize("label", ["label", "box.label"])
def test_rows_that_are_there_with_a_label_and_a_direction(dataset: "lance.LanceDataset", label: str) -> None:
    found = draw_labelled(dataset, "vector", label, None, rows=1000, seed=0)
    expected = [row for row in range(ROWS) if NAMES[row] is not None and not GONE[row] and row != 5]
    assert found.ids.to_pylist() == [f"i{row}" for row in expected]
    assert [found.classes[each] for each in found.labels] == [NAMES[row] for row in expected]
    assert found.classes == ("a", "b")
    assert (found.stored == VECTORS[expected]).all()
    pairs = [row // 2 for row in expected]
    assert len(np.unique(found.groups)) == len(set(pairs))
    assert len({*zip(pairs, found.groups.tolist(), strict=True)}) == len(set(pairs))


def test_no_more_than_asked_for_others_by_another_seed_and_groups_by_a_column(dataset: "lance.LanceDataset") -> None:
    drawn = [draw_labelled(dataset, "vector", "label", "camera", rows=50, seed=seed) for seed in (0, 0, 1)]
    assert [len(each) for each in drawn] == [50, 50, 50]
    assert drawn[0].whole > 200
    assert drawn[0].ids.equals(drawn[1].ids)
    assert not drawn[0].ids.equals(drawn[2].ids)
    cameras = [int(each[1:]) // 50 for each in drawn[0].ids.to_pylist()]
    assert len(np.unique(drawn[0].groups)) == len(set(cameras))


def test_what_is_joined_in_any_way_is_one_group() -> None:
    one, other = pa.array(["x", "x", None, "y", None]), pa.array(["1", "2", "2", "3", None])
    assert components([one, other], 5).tolist() == [0, 0, 0, 1, 2]


def test_no_group_is_on_two_sides_and_shares_are_about_right() -> None:
    groups = np.random.default_rng(1).integers(0, 200, 2000)
    sides = split_groups(groups, (0.6, 0.2), seed=3)
    assert sorted(np.concatenate(sides)) == [*range(2000)]
    assert not {*groups[sides[0]]} & {*groups[sides[1]]} | {*groups[sides[0]]} & {*groups[sides[2]]}
    assert [len(each) / 2000 for each in sides] == pytest.approx([0.6, 0.2, 0.2], abs=0.02)
