"""Each image once by its best region, however many regions of one image come first."""

from collections.abc import Callable, Sequence

import pytest

from jobs.group_results import Row, best_of_each, nearest_images


def searched(regions: Sequence[tuple[str, int]], asked: list[int]) -> Callable[[int], list[Row]]:
    rows = [{"id": name, "region": {"index": index}} for name, index in regions]

    def nearest(count: int) -> list[Row]:
        asked.append(count)
        return rows[:count]

    return nearest


def told(images: Sequence[Row]) -> list[tuple[str, int]]:
    return [(image["id"], image["region"]["index"]) for image in images]


def test_the_first_region_stands_for_its_image() -> None:
    regions = searched([("b", 3), ("a", 0), ("b", 1), ("c", 2), ("a", 1)], [])(10)
    assert told(best_of_each(regions)) == [("b", 3), ("a", 0), ("c", 2)]


@pytest.mark.parametrize("crowd", [1, 7, 8, 9, 63, 300])
def test_more_regions_are_asked_for_until_there_are_enough_images(crowd: int) -> None:
    asked: list[int] = []
    regions = [("a", index) for index in range(crowd)] + [("b", 5), ("c", 0), ("b", 0)] + [("d", n) for n in range(99)]
    assert told(nearest_images(searched(regions, asked), 3)) == [("a", 0), ("b", 5), ("c", 0)]
    assert asked == [12 * 4**n for n in range(len(asked))]
    assert asked[-1] < 4 * (crowd + 3) or len(asked) == 1


def test_a_table_of_fewer_images_gives_all_of_them() -> None:
    regions = [(name, index) for index in range(6) for name in "ab"]
    assert told(nearest_images(searched(regions, []), 5)) == [("a", 0), ("b", 0)]
    assert nearest_images(searched([], []), 5) == []
