"""Which neighbours share a request, in closed form."""

from typing import Any

from operators.fetching.attempt import Fetched
from operators.fetching.spans import ByteSpan, plan_spans

MAX = 10 << 20


def place(offset: int, size: int, uri: str = "a.tar", version: str = "v") -> dict[str, Any]:
    return {"uri": uri, "offset": offset, "size": size, "version": version}


def planned(*places: dict[str, Any]) -> list[tuple[str, int, int, list[int]]]:
    spans = plan_spans(enumerate(places), MAX)
    return [(span.uri, span.start, span.stop, [index for index, _, _ in span.images]) for span in spans]


def test_neighbours_share_a_span_in_whatever_order_they_come() -> None:
    assert planned(place(9000, 10), place(512, 100), place(2000, 700)) == [("a.tar", 512, 9010, [1, 2, 0])]


def test_the_same_bytes_twice_are_read_once() -> None:
    assert planned(place(512, 100), place(512, 100), place(600, 5)) == [("a.tar", 512, 612, [0, 1, 2])]


def test_a_gap_of_a_mebibyte_is_read_over_and_a_larger_one_is_not() -> None:
    assert planned(place(0, 10), place(10 + (1 << 20), 10)) == [("a.tar", 0, 20 + (1 << 20), [0, 1])]
    assert planned(place(0, 10), place(11 + (1 << 20), 10)) == [
        ("a.tar", 0, 10, [0]),
        ("a.tar", 11 + (1 << 20), 21 + (1 << 20), [1]),
    ]


def test_a_span_ends_at_the_most_bytes() -> None:
    half = MAX // 2
    assert planned(place(0, half), place(half, half), place(MAX, 1)) == [
        ("a.tar", 0, MAX, [0, 1]),
        ("a.tar", MAX, MAX + 1, [2]),
    ]


def test_files_and_their_versions_are_never_mixed() -> None:
    spans = planned(place(0, 10), place(10, 10, "b.tar"), place(10, 10, version="w"))
    assert spans == [("a.tar", 0, 10, [0]), ("a.tar", 10, 20, [2]), ("b.tar", 10, 20, [1])]


def test_each_image_gets_its_own_bytes() -> None:
    span = ByteSpan("a.tar", "v", 100, 110, [(0, 102, 3), (5, 100, 10)])
    span.result = Fetched(b"0123456789", "etag")
    assert list(span.read()) == [(0, Fetched(b"234", "etag")), (5, Fetched(b"0123456789", "etag"))]
