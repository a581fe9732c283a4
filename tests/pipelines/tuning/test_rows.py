"""What a source says of its images: labels, pairs, captions; and who is held out with whom."""

import numpy as np
import pyarrow as pa
import pytest

from operators.base.errors import UserError
from pipelines.training.rows import read_pairs
from pipelines.tuning.rows import rows_of, split_rows

TABLE = pa.table(
    {
        "id": [f"i{at}" for at in range(8)],
        "uri": [f"file:///i/{at}.png" for at in range(8)],
        "sha256": ["a", "b", "b", "c", "d", "e", "f", "g"],
        "label": ["cat", "dog", None, "cat", "dog", "cat", "ant", "dog"],
        "caption": ["one", "two", "two", None, "one", "three", "four", "five"],
        "series": ["s", "s", None, None, None, None, "t", "t"],
    }
)


def pairs(**columns: list[str]) -> pa.Table:
    return read_pairs(pa.table(columns), "pairs")


def many(labels: list[str]) -> pa.Table:
    count = len(labels)
    ids = [f"i{at}" for at in range(count)]
    return pa.table(
        {"id": ids, "uri": ids, "sha256": ids, "label": labels, "series": [f"s{at // 2}" for at in range(count)]}
    )


def test_images_without_a_label_are_left_out_and_labels_are_numbered_in_order() -> None:
    rows = rows_of(TABLE, label="label", captions=None, pairs=None, group="series")
    assert rows.positions.tolist() == [0, 1, 3, 4, 5, 6, 7]
    assert rows.classes == ("ant", "cat", "dog")
    assert rows.labels is not None
    assert rows.labels.tolist() == [1, 2, 1, 2, 1, 0, 2]
    assert rows.groups[0] == rows.groups[1] != rows.groups[2]
    assert rows.groups[5] == rows.groups[6]
    assert rows.ids.to_pylist()[2] == "i3"


def test_the_same_bytes_and_the_same_caption_are_no_wrong_answer() -> None:
    rows = rows_of(TABLE, label=None, captions="caption", pairs=None, group=None)
    alike = rows.alike
    assert alike is not None
    assert rows.positions.tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert alike[0] == alike[3]
    assert alike[1] == alike[2]
    assert len(set(alike.tolist())) == 5
    assert rows.own[1] == rows.own[2]


def test_pairs_that_share_an_image_are_one_group_and_stay_together() -> None:
    rows = rows_of(TABLE, label=None, captions=None, pairs=pairs(id_a=["i0", "i3"], id_b=["i3", "i5"]), group=None)
    assert rows.positions.tolist() == [0, 3, 5]
    assert rows.labels is not None
    assert len(set(rows.labels.tolist())) == len(set(rows.groups.tolist())) == 1
    assert len(set(rows.own.tolist())) == 3


def test_pairs_may_be_of_addresses() -> None:
    told = pairs(id_a=["file:///i/1.png", "nowhere"], id_b=["file:///i/4.png", "file:///i/6.png"])
    rows = rows_of(TABLE, label=None, captions=None, pairs=told, group=None)
    assert rows.positions.tolist() == [1, 4, 6]
    with pytest.raises(UserError, match=r"none of 2 ids in --pairs is the id .* such as i0 \(of file:///i/0.png\)"):
        rows_of(TABLE, label=None, captions=None, pairs=pairs(id_a=["x"], id_b=["y"]), group=None)


def test_groups_are_whole_on_one_side_and_the_seed_decides() -> None:
    rows = rows_of(many(["a", "b"] * 60), label="label", captions=None, pairs=None, group="series")
    split = split_rows(rows, test=0.5, seed=1)
    sides = [split.train, split.held, split.tested]
    assert [len(side) for side in sides] == [48, 12, 60]
    assert sorted(np.concatenate(sides).tolist()) == list(range(120))
    groups = [set(rows.groups[side].tolist()) for side in sides]
    assert len(set().union(*groups)) == sum(map(len, groups)) == 60
    assert np.array_equal(split_rows(rows, test=0.5, seed=1).tested, split.tested)
    assert not np.array_equal(split_rows(rows, test=0.5, seed=2).tested, split.tested)


def test_what_is_too_little_is_told() -> None:
    few = rows_of(many(["a", "b"] * 5), label="label", captions=None, pairs=None, group=None)
    with pytest.raises(UserError, match="10 images in 10 groups are too few"):
        split_rows(few, test=0.2, seed=0)
    alone = rows_of(many(["a"] * 40), label="label", captions=None, pairs=None, group=None)
    with pytest.raises(UserError, match="images to train on have 1 labels or groups"):
        split_rows(alone, test=0.2, seed=0)
    with pytest.raises(UserError, match="none of 0 images has label"):
        rows_of(TABLE.slice(0, 0), label="label", captions=None, pairs=None, group=None)
