"""Each image once by its best region, however many regions of one image come first."""

from collections.abc import Sequence

import numpy as np
import pytest

from pipelines.neighbours.nearest import Nearest
from pipelines.search.group import first_of_each, nearest_images


class Table:
    """Regions of images, the nearest first; of each question it gives `share` of what was asked for."""

    def __init__(self, images: Sequence[str], share: float = 1) -> None:
        self.images, self.share = images, share
        self.asked: list[int] = []

    def nearest(self, count: int) -> Nearest:
        self.asked.append(count)
        rows = np.arange(min(int(count * self.share), len(self.images)), dtype=np.uint64)
        return Nearest(row_ids=rows, scores=(1 - rows / 1000).astype(np.float32))

    def grouped(self, k: int) -> list[tuple[str, int]]:
        found = nearest_images(self.nearest, lambda rows: [self.images[int(row)] for row in rows], k)
        assert found.scores.tolist() == pytest.approx([1 - row / 1000 for row in found.row_ids.tolist()])
        return [(self.images[row], row) for row in found.row_ids.tolist()]


def test_the_first_region_stands_for_its_image() -> None:
    assert first_of_each(["b", "a", "b", "c", "a"]).tolist() == [0, 1, 3]
    assert first_of_each([]).tolist() == []


@pytest.mark.parametrize("crowd", [1, 7, 8, 9, 63, 300])
def test_more_regions_are_asked_for_until_there_are_enough_images(crowd: int) -> None:
    table = Table(["a"] * crowd + ["b", "c", "b"] + ["d"] * 99)
    assert table.grouped(3) == [("a", 0), ("b", crowd), ("c", crowd + 1)]
    assert table.asked == [12 * 4**n for n in range(len(table.asked))]
    assert table.asked[-1] < 4 * (crowd + 3) or len(table.asked) == 1


@pytest.mark.parametrize("share", [1, 0.5])
def test_a_table_of_fewer_images_gives_all_of_them(share: float) -> None:
    assert Table("ab" * 60, share).grouped(5) == [("a", 0), ("b", 1)]
    assert Table("", share).grouped(5) == []


def test_fewer_than_asked_for_are_not_taken_for_all() -> None:
    assert Table("a" * 20 + "bc", share=0.5).grouped(3) == [("a", 0), ("b", 20), ("c", 21)]
