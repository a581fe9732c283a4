"""Fetch against a server that really misbehaves and a real S3 store: what comes back, how often it asks, how long."""

import gc
import hashlib
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pyarrow as pa
import pytest
from pydantic import ValidationError

from operators.base import columns
from operators.fetch import Fetch, FetchConfig
from operators.storage.stores import StorageOptions, object_store
from servers.faults import BODY, FaultServer

LOCAL = ("127.0.0.0/8",)


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    running = FaultServer()
    yield running
    running.close()


@pytest.fixture(scope="module")
def web() -> Iterator[Fetch]:
    operator = FetchConfig(
        allowed_cidrs=LOCAL, max_bytes=1 << 20, object_s=0.5, first_byte_s=0.3, max_attempts=3
    ).build()
    yield operator
    operator.close()


def batch_of(*uris: str | None) -> pa.Table:
    count = len(uris)
    given: dict[str, Any] = {
        "shard": pa.array([0] * count, pa.int32()),
        "row": pa.array(range(count), pa.int32()),
        "id": pa.array([str(i) for i in range(count)]),
        "uri": pa.array(uris, pa.string()),
    }
    given |= {field.name: pa.nulls(count, field.type) for field in columns.ERROR_FIELDS}
    return pa.table(given, schema=columns.SOURCE_SCHEMA)


def fetch(operator: Fetch, *uris: str | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = operator(batch_of(*uris)).to_pylist()
    return rows


def failed(operator: Fetch, uri: str | None) -> tuple[str, int | None, int]:
    (row,) = fetch(operator, uri)
    assert row["image_bytes"] is None
    assert row["sha256"] is None
    assert row["error_stage"] == "fetch"
    return row["error_class"], row["error_http_status"], row["error_attempts"]


def test_a_row_gets_bytes_size_etag_and_digest(server: FaultServer, web: Fetch) -> None:
    (row,) = fetch(web, f"{server.url}/ok/plain")
    assert row["image_bytes"] == BODY
    assert row["size_bytes"] == len(BODY)
    assert row["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert (row["etag"], row["requests"], row["error_class"]) == ('"v1"', 1, None)


@pytest.mark.parametrize(
    ("kind", "requests"), [("burst", 3), ("partial", 2), ("slowdown", 2), ("gzip", 1), ("hops/3", 4)]
)
def test_what_another_attempt_mends_is_mended(server: FaultServer, web: Fetch, kind: str, requests: int) -> None:
    started = time.monotonic()
    (row,) = fetch(web, f"{server.url}/{kind}/mended" if kind != "hops/3" else f"{server.url}/hops/3")
    assert row["image_bytes"] == BODY, row["error"]
    assert row["requests"] == requests
    if kind == "slowdown":
        assert time.monotonic() - started >= 1


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("404/a", ("not_found", 404, 1)),
        ("410/a", ("not_found", 410, 1)),
        ("403/a", ("forbidden", 403, 1)),
        ("401/a", ("forbidden", 401, 1)),
        ("418/a", ("bad_response", 418, 1)),
        ("204/a", ("bad_response", 204, 1)),
        ("stalled/a", ("timeout", None, 3)),
        ("drip/a", ("timeout", None, 3)),
        ("endless/a", ("too_large", None, 1)),
        ("bomb/a", ("too_large", None, 1)),
        ("brotli/a", ("bad_response", None, 1)),
        ("hops/4", ("bad_response", 302, 1)),
    ],
)
def test_each_fault_has_its_class_and_only_transient_ones_are_retried(
    server: FaultServer, path: str, expected: tuple[str, int | None, int], web: Fetch
) -> None:
    assert failed(web, f"{server.url}/{path}") == expected


def test_a_connection_reset_is_tried_again(server: FaultServer, web: Fetch) -> None:
    # `requests` may say 1: aiohttp itself repeats a GET once where a kept-alive connection turns out to be closed.
    (row,) = fetch(web, f"{server.url}/reset/a")
    assert row["image_bytes"] == BODY, row["error"]
    assert server.asked["/reset/a"] == 2


def test_a_slow_object_does_not_hold_up_the_others(server: FaultServer, web: Fetch) -> None:
    slow = threading.Thread(target=fetch, args=(web, f"{server.url}/stalled/b"))
    slow.start()
    started = time.monotonic()
    rows = fetch(web, *(f"{server.url}/ok/{i}" for i in range(50)))
    assert time.monotonic() - started < 2
    assert all(row["image_bytes"] == BODY for row in rows)
    slow.join()


def test_latency_is_hidden_behind_concurrency(server: FaultServer) -> None:
    operator = FetchConfig(allowed_cidrs=LOCAL, max_concurrency=64, max_per_host=64).build()
    started = time.monotonic()
    rows = fetch(operator, *(f"{server.url}/late/{i}" for i in range(200)))
    taken = time.monotonic() - started
    operator.close()
    assert all(row["image_bytes"] == BODY for row in rows)
    assert taken < 5, "one after another this takes 30 s"


def test_a_small_byte_budget_slows_but_never_blocks(server: FaultServer) -> None:
    operator = FetchConfig(allowed_cidrs=LOCAL, max_bytes=20_000, max_bytes_in_flight=20_000).build()
    rows = fetch(operator, *(f"{server.url}/late/{i}" for i in range(20)))
    operator.close()
    assert all(row["image_bytes"] == BODY for row in rows)


@pytest.mark.parametrize(
    "host",
    """127.0.0.1 2130706433 0x7f000001 0177.0.0.1 0x7f.1 127.1 0 [::ffff:127.0.0.1] [::ffff:7f00:1] localhost
    x:y@127.0.0.1 1.1.1.1@127.0.0.1 127。0。0。1 ①②⑦.0.0.1 [::1] 169.254.169.254 [fd00:ec2::254]""".split(),  # noqa: SIM905
)
def test_no_dressing_of_an_inside_address_reaches_it(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        operator = FetchConfig(max_attempts=1).build()
        error_class, _, _ = failed(operator, f"http://{host}:{listener.getsockname()[1]}/latest/meta-data")
        operator.close()
        assert error_class in ("blocked_source", "bad_uri", "unavailable")
        assert error_class == "blocked_source" or not host.isascii()
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize(
    "to", ["http://127.0.0.2:{port}/x", "file:///etc/passwd", "gopher://h/", "//127.0.0.2:{port}/"]
)
def test_a_redirect_is_checked_like_a_first_address(server: FaultServer, to: str) -> None:
    with socket.create_server(("127.0.0.2", 0)) as listener:
        listener.settimeout(0.05)
        operator = FetchConfig(allowed_cidrs=("127.0.0.1/32",)).build()
        target = to.format(port=listener.getsockname()[1])
        assert failed(operator, f"{server.url}/goto/x?to={target}")[0] == "blocked_source"
        operator.close()
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (None, "bad_uri"),
        ("", "bad_uri"),
        ("data:image/png;base64,AAAA", "bad_uri"),
        ("gopher://h/x", "blocked_source"),
        ("unix:/run/x.sock", "blocked_source"),
        ("http:/x", "bad_uri"),
        ("http://[::1", "bad_uri"),
        ("http://h\n/x", "bad_uri"),
        ("http://" + "a" * 300 + "/", "bad_uri"),
        ("s3://", "bad_uri"),
        ("s3://bucket", "bad_uri"),
        ("s3://bucket/folder/", "bad_uri"),
        ("relative/a.jpg", "bad_uri"),
        ("file://host/a", "bad_uri"),
        ("/etc/passwd", "blocked_source"),
    ],
)
def test_uris_that_cannot_be_read_fail_alone(uri: str | None, expected: str, web: Fetch, server: FaultServer) -> None:
    rows = fetch(web, f"{server.url}/ok/before", uri, f"{server.url}/ok/after")
    assert [row["error_class"] for row in rows] == [None, expected, None]


def test_no_secret_of_a_uri_reaches_an_error(server: FaultServer, web: Fetch) -> None:
    secret = "c4nary5ecret"
    rows = fetch(
        web,
        f"{server.url}/404/a?X-Amz-Signature={secret}",
        f"http://u:{secret}@0x7f.2.3.4.5/",
        f"{server.url}/goto/x?to=ftp://u:{secret}@h/%3Ftoken={secret}",
    )
    assert all(row["error_class"] for row in rows)
    assert all(secret not in row["error"] for row in rows)


def test_config_pickles_with_its_secrets_and_shows_none() -> None:
    config = FetchConfig(storage=StorageOptions.model_validate({"key": "k", "secret": "c4nary5ecret"}))
    assert pickle.loads(pickle.dumps(config)) == config
    assert "c4nary5ecret" not in repr(config) + config.model_dump_json()


@pytest.mark.parametrize(
    "wrong", [{"schemes": ("ftp",)}, {"allowed_cidrs": ("10.0.0.1/8",)}, {"max_bytes_in_flight": 1}, {"retries": 3}]
)
def test_wrong_configuration_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FetchConfig(**wrong)


@pytest.mark.parametrize(
    ("answer", "attempts"), [("503-SlowDown", 2), ("500-InternalError", 2), ("400-ExpiredToken", 2)]
)
def test_object_store_errors_that_pass_are_retried(server: FaultServer, answer: str, attempts: int) -> None:
    options = StorageOptions.model_validate({"key": "k", "secret": "s", "endpoint_url": server.url})
    operator = FetchConfig(storage=options).build()
    (row,) = fetch(operator, f"s3://s3/{answer}")
    operator.close()
    assert row["image_bytes"] == BODY, row["error"]
    assert (row["requests"], row["etag"]) == (attempts, '"v2"')


@pytest.mark.s3
def test_a_real_store_gives_objects_in_one_request_each(s3: Any) -> None:
    bucket = s3.bucket("fetch")
    options = StorageOptions.model_validate(s3.storage_options)
    keys = ["a b/ü.jpg", "a%20b/c+d.jpg", "q?x=1#y.jpg", "plain.jpg"]
    store, _ = object_store(f"s3://{bucket}/", options)
    for key in keys:
        obstore.put(store, key, key.encode())
    obstore.put(store, "big", bytes(100_001))
    operator = FetchConfig(storage=options, max_bytes=100_000).build()
    rows = fetch(operator, *(f"s3://{bucket}/{key}" for key in keys))
    assert [row["image_bytes"] for row in rows] == [key.encode() for key in keys]
    assert {row["requests"] for row in rows} == {1}
    assert all(row["etag"] for row in rows)
    assert failed(operator, f"s3://{bucket}/none") == ("not_found", 404, 1)
    assert failed(operator, "s3://no-such-bucket/none")[0] == "not_found"
    assert failed(operator, f"s3://{bucket}/big")[0] == "too_large"
    operator.close()
    wrong = StorageOptions.model_validate({**s3.storage_options, "secret": "wrong"})
    operator = FetchConfig(storage=wrong).build()
    assert failed(operator, f"s3://{bucket}/plain.jpg") == ("forbidden", 403, 1)
    operator.close()


@pytest.mark.parametrize("how", ["close", "forget"])
def test_an_operator_leaves_no_thread_behind(tmp_path: Path, how: str, server: FaultServer) -> None:
    before = set(threading.enumerate())
    (tmp_path / "a").write_bytes(b"x")
    operator = FetchConfig(allowed_roots=(str(tmp_path),), allowed_cidrs=LOCAL).build()
    assert [row["error"] for row in fetch(operator, str(tmp_path / "a"), f"{server.url}/ok/a")] == [None, None]
    if how == "close":
        operator.close()
        operator.close()
    del operator
    gc.collect()
    deadline = time.monotonic() + 60
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) == before


def test_a_process_that_ends_without_closing_says_nothing(server: FaultServer) -> None:
    code = (
        "import sys; from tests.operators.test_fetch import FetchConfig, LOCAL, batch_of\n"
        "fetch = FetchConfig(allowed_cidrs=LOCAL).build(); print(fetch(batch_of(sys.argv[1]))['size_bytes'][0])"
    )
    command = [sys.executable, "-c", code, f"{server.url}/ok/a"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert (done.stdout.strip(), done.stderr, done.returncode) == (str(len(BODY)), "", 0)


def test_only_what_waits_for_answers_or_reads_neighbours_together_gains_by_many_rows(tmp_path: Path) -> None:
    operator = FetchConfig(allowed_roots=(str(tmp_path),)).build()
    local = batch_of("/a.jpg", "file:///b.jpg", "FILE:///c", None, "no scheme")
    assert not operator.gains_by_many(local)
    assert operator.gains_by_many(batch_of("/a.jpg", "s3://bucket/b.jpg"))
    place = pa.array([None] * 5, columns.PACKED_IN.type)
    assert operator.gains_by_many(local.append_column(columns.PACKED_IN, place))
    with_bytes = batch_of("s3://bucket/b.jpg").append_column(columns.IMAGE_BYTES, pa.array([b"x"], pa.large_binary()))
    assert not operator.gains_by_many(with_bytes)
    operator.close()
