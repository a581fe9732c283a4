"""Fetch against storage that misbehaves for everyone, or for one object: what is waited for, how long, what is left.

Limits are settings, so that what lasts minutes takes a second here.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from operators.base import columns
from operators.base.errors import NOT_ATTEMPTED
from operators.fetch import Fetch, FetchConfig
from operators.fetching.options import Waits
from operators.storage.stores import StorageOptions
from servers.faults import BODY, FaultServer

QUICK = {"connect_s": 0.5, "first_byte_s": 0.4, "object_s": 0.8, "max_attempts": 3, "retry_s": 20.0}


@pytest.fixture
def server() -> Iterator[FaultServer]:
    running = FaultServer(seed=7)
    yield running
    running.close()


@pytest.fixture
def built() -> Iterator[Callable[..., Fetch]]:
    operators: list[Fetch] = []

    def build(**options: Any) -> Fetch:
        operators.append(FetchConfig(**{"allowed_cidrs": ("127.0.0.0/8",), **QUICK, **options}).build())
        return operators[-1]

    yield build
    for operator in operators:
        operator.close()


def storage(server: FaultServer, **options: Any) -> StorageOptions:
    return StorageOptions.model_validate({"key": "k", "secret": "s", "endpoint_url": server.url, **options})


def fetch(operator: Fetch, uris: list[str]) -> list[dict[str, Any]]:
    count = len(uris)
    given: dict[str, Any] = {
        "shard": pa.array([0] * count, pa.int32()),
        "row": pa.array(range(count), pa.int32()),
        "id": pa.array([str(i) for i in range(count)]),
        "uri": pa.array(uris, pa.string()),
    }
    given |= {field.name: pa.nulls(count, field.type) for field in columns.ERROR_FIELDS}
    rows: list[dict[str, Any]] = operator(pa.table(given, schema=columns.SOURCE_SCHEMA)).to_pylist()
    return rows


def classes(rows: list[dict[str, Any]]) -> list[str | None]:
    return [row["error_class"] for row in rows]


def scripted(server: FaultServer, count: int) -> list[str]:
    return [f"{server.url}/scripted/{i}" for i in range(count)]


def in_bucket(count: int) -> list[str]:
    return [f"s3://bucket/{i}" for i in range(count)]


@pytest.mark.parametrize(
    ("how", "waits"),
    [
        ("503", Waits.ASIDE),
        ("throttled", Waits.ASIDE),
        ("resets", Waits.LAST),
        ("silent", Waits.ASIDE),
        ("stop", Waits.ASIDE),
        ("stop", Waits.LAST),
    ],
)
def test_a_store_that_is_away_for_seconds_costs_no_row(
    server: FaultServer, built: Callable[..., Fetch], how: str, waits: Waits
) -> None:
    operator = built(waits=waits, storage=storage(server), aside_s=10.0)
    set_out(server, how)
    back = later(1.0, lambda: set_back(server, how))
    rows = fetch(operator, in_bucket(100) + scripted(server, 100))
    back.join()
    assert {row["error"] for row in rows} == {None}
    assert all(row["image_bytes"] == BODY for row in rows)
    # One probe at a time, and not every row again and again: 32 or 100 in flight as it goes, then few.
    assert sum(server.asked.values()) < 200 + 250


def later(seconds: float, act: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


def set_out(server: FaultServer, how: str) -> None:
    if how == "stop":
        server.stop()
    else:
        server.outage = how


def set_back(server: FaultServer, how: str) -> None:
    if how == "stop":
        server.restart()
    else:
        server.outage = None


@pytest.mark.parametrize(("kind", "share"), [("503", 0.4), ("throttled", 0.2), ("500", 0.3), ("408", 0.3)])
def test_refusals_by_chance_cost_no_row(
    server: FaultServer, built: Callable[..., Fetch], kind: str, share: float
) -> None:
    server.script = {kind: share}
    rows = fetch(built(waits=Waits.LAST, storage=storage(server)), in_bucket(30) + scripted(server, 30))
    assert {row["error"] for row in rows} == {None}
    assert sum(status in (408, 429, 500, 503) for _, _, status in server.log) > 5


def test_a_host_that_is_gone_is_waited_for_once_and_not_for_each_row(
    server: FaultServer, built: Callable[..., Fetch]
) -> None:
    server.outage = "503"
    operator = built(retry_s=1.0)
    started = time.monotonic()
    rows = [row for _ in range(5) for row in fetch(operator, scripted(server, 60))]
    assert time.monotonic() - started < 10, "five blocks of a second and more each, or 300 rows"
    assert classes(rows) == ["unavailable"] * 300
    assert "the host has given nothing else for" in rows[-1]["error"]
    assert sum(server.asked.values()) < 100


def test_a_host_that_was_given_up_is_asked_again(
    server: FaultServer, built: Callable[..., Fetch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operators.fetching.pace.GIVEN_UP_PROBE_S", 0.2)
    operator = built(retry_s=0.5, waits=Waits.ASIDE)
    server.outage = "503"
    assert set(classes(fetch(operator, scripted(server, 40)))) == {NOT_ATTEMPTED}
    server.outage = None
    deadline = time.monotonic() + 20
    while fetch(operator, scripted(server, 1))[0]["error"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert classes(fetch(operator, scripted(server, 40))) == [None] * 40


@pytest.mark.parametrize(
    ("waits", "are_failures"),
    [(Waits.ASIDE, False), (Waits.LAST_AND_LEAVE, False), (Waits.LAST, True), (Waits.EACH, True)],
)
def test_rows_of_a_host_that_is_gone_are_failures_only_where_nobody_comes_back_to_them(
    server: FaultServer, built: Callable[..., Fetch], waits: Waits, are_failures: bool
) -> None:
    other = FaultServer()
    server.stop()
    operator = built(retry_s=0.6, waits=waits, connect_s=20.0, first_byte_s=20.0, object_s=20.0)
    rows = fetch(operator, scripted(server, 20) + scripted(other, 20))
    server.restart()
    other.close()
    assert classes(rows) == ["unavailable" if are_failures else NOT_ATTEMPTED] * 20 + [None] * 20


@pytest.mark.parametrize("kind", ["silent", "hanging", "drip", "throttled"])
def test_slow_objects_are_set_aside_for_the_others_to_go_on(
    server: FaultServer, built: Callable[..., Fetch], kind: str
) -> None:
    server.faulty = {"3": kind, "50": kind}
    operator = built(waits=Waits.ASIDE, aside_s=0.5, object_s=60.0, first_byte_s=60.0)
    started = time.monotonic()
    rows = fetch(operator, scripted(server, 100))
    assert time.monotonic() - started < 15, "each of them takes a minute"
    assert [i for i, row in enumerate(rows) if row["error_class"]] == [3, 50]
    assert {rows[3]["error_class"], rows[50]["error_class"]} == {NOT_ATTEMPTED}
    assert all(row["image_bytes"] == BODY for i, row in enumerate(rows) if i not in (3, 50))


def test_nothing_is_set_aside_where_everything_takes_its_time(server: FaultServer, built: Callable[..., Fetch]) -> None:
    server.delay_s = 0.3
    rows = fetch(built(waits=Waits.ASIDE, aside_s=0.05, max_per_host=8), scripted(server, 80))
    assert classes(rows) == [None] * 80


def test_the_last_pass_has_one_deadline_for_all_its_rows(server: FaultServer, built: Callable[..., Fetch]) -> None:
    server.faulty = {str(i): "throttled" for i in range(20)}
    operator = built(waits=Waits.LAST, retry_s=1.5)
    started = time.monotonic()
    blocks = [fetch(operator, [f"{server.url}/scripted/{i}", f"{server.url}/scripted/good"]) for i in range(20)]
    assert time.monotonic() - started < 15, "20 blocks of 1.5 s each take 30 s"
    assert {rows[0]["error_class"] for rows in blocks} == {"throttled"}
    assert {rows[1]["error_class"] for rows in blocks} == {None}


@pytest.mark.parametrize("kind", ["cut", "hanging"])
def test_what_an_object_does_by_itself_is_tried_as_often_as_allowed(
    server: FaultServer, built: Callable[..., Fetch], kind: str
) -> None:
    server.faulty = {"0": kind}
    row, good = fetch(built(waits=Waits.ASIDE, aside_s=30.0), [*scripted(server, 1), f"{server.url}/ok/a"])
    assert (row["error_class"], row["error_attempts"]) == ("unavailable" if kind == "cut" else "timeout", 3)
    assert row["image_bytes"] is None
    assert good["image_bytes"] == BODY


@pytest.mark.parametrize("over", ["http", "s3"])
def test_no_image_is_made_of_two_versions_of_an_object(
    server: FaultServer, built: Callable[..., Fetch], over: str
) -> None:
    server.faulty = {"0": "changing"}
    uris = scripted(server, 1) if over == "http" else in_bucket(1)
    (row,) = fetch(built(storage=storage(server)), uris)
    assert row["image_bytes"] == bytes(reversed(BODY)), row["error"]
    assert row["etag"] == '"v2"'


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501])
@pytest.mark.parametrize("over", ["http", "s3"])
def test_a_permanent_answer_is_one_failure_after_one_request(
    server: FaultServer, built: Callable[..., Fetch], status: int, over: str
) -> None:
    server.faulty = {"0": str(status)}
    uris = scripted(server, 1) if over == "http" else in_bucket(1)
    (row,) = fetch(built(waits=Waits.ASIDE, storage=storage(server)), uris)
    expected = {401: "forbidden", 403: "forbidden", 404: "not_found", 410: "not_found"}.get(status, "bad_response")
    assert (row["error_class"], row["error_attempts"], sum(server.asked.values())) == (expected, 1, 1)


def test_credentials_that_expire_are_renewed_and_fail_no_row(
    server: FaultServer, built: Callable[..., Fetch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "OLD")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    operator = built(waits=Waits.ASIDE, storage=StorageOptions(endpoint_url=server.url))
    assert classes(fetch(operator, in_bucket(3))) == [None] * 3
    server.expired_keys.add("OLD")

    def renew() -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "NEW")

    renewing = later(0.7, renew)
    rows = fetch(operator, in_bucket(20))
    renewing.join()
    assert {row["error"] for row in rows} == {None}


@pytest.mark.parametrize("waits", [Waits.ASIDE, Waits.LAST, Waits.LAST_AND_LEAVE])
def test_credentials_that_nobody_renews_leave_the_rows_undone(
    server: FaultServer, built: Callable[..., Fetch], waits: Waits
) -> None:
    server.expired_keys.add("k")
    rows = fetch(built(waits=waits, storage=storage(server), retry_s=0.6), in_bucket(20))
    assert set(classes(rows)) == {NOT_ATTEMPTED}
    assert "credentials have expired" in rows[0]["error"]


def test_a_requester_who_pays_says_so(server: FaultServer, built: Callable[..., Fetch]) -> None:
    server.payer_required = True
    assert classes(fetch(built(storage=storage(server)), in_bucket(1))) == ["forbidden"]
    (row,) = fetch(built(storage=storage(server, requester_pays=True)), in_bucket(1))
    assert row["image_bytes"] == BODY, row["error"]


def test_a_bucket_is_part_of_the_host_where_that_is_asked_for(server: FaultServer, built: Callable[..., Fetch]) -> None:
    # The bucket 127 at the host 0.0.1: the one name with a bucket in front that needs no name server.
    port = server.url.rpartition(":")[2]
    options = storage(server, endpoint_url=f"http://0.0.1:{port}", addressing_style="virtual")
    (row,) = fetch(built(storage=options), ["s3://127/ok/a"])
    assert row["image_bytes"] == BODY, row["error"]
    assert server.headers["/ok/a"]["Host"] == f"127.0.0.1:{port}"


def answered_s(server: FaultServer, operator: Fetch, count: int) -> list[float]:
    """When each of the images that are well was answered, in seconds after all were asked for."""
    started, before = time.monotonic(), len(server.log)
    fetch(operator, scripted(server, count))
    return sorted(at - started for at, _, status in server.log[before:] if status == 200)


def test_objects_that_stall_take_no_place_of_those_that_do_not(
    server: FaultServer, built: Callable[..., Fetch]
) -> None:
    """p99 of the images that are well, with a tenth beside them of which no answer comes: at most twice the usual."""
    server.delay_s = 0.2
    options = {"first_byte_s": 10.0, "object_s": 30.0, "max_per_host": 16, "waits": Waits.ASIDE}
    usual = answered_s(server, built(**options), 150)
    server.faulty = {str(number): "silent" for number in range(5, 150, 10)}
    beside = answered_s(server, built(**options), 150)
    assert (len(usual), len(beside)) == (150, 135)
    assert beside[int(0.99 * 135)] <= 2 * usual[int(0.99 * 150)], (beside[-5:], usual[-5:])


def test_the_last_pass_of_a_host_that_answers_nobody_ends_however_many_images_it_has(
    server: FaultServer, built: Callable[..., Fetch]
) -> None:
    server.outage = "silent"
    options = {"first_byte_s": 0.5, "object_s": 1.0, "max_per_host": 4, "max_concurrency": 4, "retry_s": 1.0}
    last = built(waits=Waits.LAST, **options)
    started = time.monotonic()
    rows = fetch(last, scripted(server, 200))
    assert time.monotonic() - started < 10, "0.5 s for each four of them"
    assert set(classes(rows)) == {"timeout"}
    assert "has answered nobody for" in rows[-1]["error"]
    assert sum(server.asked.values()) < 100
