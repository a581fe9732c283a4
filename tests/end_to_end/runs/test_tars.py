"""Tars through the command: ids, limits, failures tried again, kills, a replaced tar, and requests an image."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import obstore
import pyarrow.compute as pc
import pytest
from aiohttp import web

from end_to_end.audit import audit, committed_uris, read
from end_to_end.command import LOCAL, RAY, Ended, embed_here, end, pixlake, pixlake_here, start
from made.s3_source import lance_options
from made.solid_images import png_of
from made.tars import make_tars, shard_of, write_beside, write_tar
from operators.storage.stores import StorageOptions, object_store
from servers.recording_proxy import RecordingProxy


def test_a_folder_of_tars_is_embedded_once(tmp_path: Path) -> None:
    expected, table = make_tars(tmp_path / "in", 300, 100), f"{tmp_path}/lake/photos"
    ended = embed_here(f"{tmp_path}/in", table, "--json")
    assert (ended.code, ended.json["vectors"], ended.json["failures"]) == (0, 300, 0), ended.err
    audit(table, expected)
    again = embed_here(f"{tmp_path}/in", table, "--json")
    assert (again.code, again.json["embedded_now"]) == (0, 0), again.err
    found = pixlake_here("search", table, "--id", read(table)[0]["id"][7].as_py(), "--json")
    assert found.json["results"][0]["uri"] == f"{tmp_path}/in/00000.tar#000000007.png"


def test_ids_and_kept_columns_reach_the_table(tmp_path: Path) -> None:
    make_tars(tmp_path / "in", 20, 10)
    for shard in range(2):
        write_beside(tmp_path / f"in/{shard:05d}.tar", range(10 * shard, 10 * shard + 10), failed=1)
    table = f"{tmp_path}/lake/photos"
    columns = ("--set", "source.id_column=key", "--set", "source.keep=[caption, score]", "--rename", "score=rating")
    ended = embed_here(f"{tmp_path}/in", table, *columns)
    assert ended.code == 0, ended.err
    assert "2 rows of the Parquet files beside the tars have no image" in ended.err
    rows = read(table)[0].select(["id", "caption", "rating"]).to_pylist()
    assert rows == [{"id": f"{n:09d}", "caption": f"image {n}", "rating": n / 2} for n in range(20)]


def test_a_limit_is_gone_on_from(tmp_path: Path) -> None:
    expected, table = make_tars(tmp_path / "in", 60, 10), f"{tmp_path}/lake/photos"
    arguments = (f"{tmp_path}/in", table, "--set", "source.rows_per_shard=15", "--json")
    for limit in (10, 20):
        ended = embed_here(*arguments, "--limit", str(limit))
        assert (ended.code, ended.json["vectors"]) == (0, limit), ended.err
        audit(table, expected[:limit], gaps=True)
    assert embed_here(*arguments).json["embedded_now"] == 40
    audit(table, expected)


def test_a_bad_member_is_one_failure_and_is_tried_again_alone(tmp_path: Path) -> None:
    table = f"{tmp_path}/lake/photos"
    members = shard_of(range(12))
    members[3 * 4] = ("000000004.png", b"no image")
    members[3 * 5] = ("000000005.png", b"")
    members[3 * 6] = ("000000006.png", png_of(6) + b"\0" * 5000)
    write_tar(tmp_path / "in/00000.tar", members)
    expected = make_tars(tmp_path / "names", 12, 12, root=f"{tmp_path}/in")
    failed = {4: "unsupported_format", 5: "corrupt", 6: "too_large"}
    limits = ("--set", "fetch.max_bytes=4000", "--json")
    ended = embed_here(f"{tmp_path}/in", table, *limits)
    assert (ended.code, ended.json["failures"]) == (0, 3), ended.err
    audit(table, [replace(each, failure=failed.get(each.number or 0)) for each in expected])
    ended = embed_here(f"{tmp_path}/in", table, "--retry-failed", "--json")
    assert (ended.json["embedded_now"], ended.json["failed_now"], ended.json["requests_per_image"]) == (1, 2, 1 / 3)
    assert read(table)[0].filter(pc.field("row") == 6)["size_bytes"].to_pylist() == [len(png_of(6)) + 5000]


def test_tars_of_which_one_was_replaced_are_another_manifest(tmp_path: Path) -> None:
    expected, table = make_tars(tmp_path / "in", 20, 10), f"{tmp_path}/lake/photos"
    assert embed_here(f"{tmp_path}/in", table).code == 0
    write_tar(tmp_path / "in/00001.tar", shard_of(range(10, 22)))
    refused = embed_here(f"{tmp_path}/in", table)
    assert refused.code == 2
    assert "--skip-existing" in refused.err
    ended = embed_here(f"{tmp_path}/in", table, "--skip-existing", "--json")
    assert (ended.json["embedded_now"], ended.json["skipped"]) == (2, 20), ended.err
    more = make_tars(tmp_path / "names", 22, 22, root=f"{tmp_path}/in")[20:]
    uris = [(each.uri or "").replace("00000.tar", "00001.tar") for each in more]
    audit(table, [*expected, *(replace(each, uri=uri) for each, uri in zip(more, uris, strict=True))], gaps=True)


@pytest.mark.kill
def test_killed_and_resumed(tmp_path: Path) -> None:
    expected, table = make_tars(tmp_path / "in", 2000, 400), f"{tmp_path}/lake/photos"
    sizes = (
        "--set=cluster.block_rows=50",
        "--set=cluster.rows_per_fragment=150",
        "--set=cluster.commit_interval_s=0.1",
    )
    arguments = ("embed", f"{tmp_path}/in", table, *LOCAL, *sizes)
    process = start(*arguments)
    kill_once(process, table, len(expected) // 5)
    assert end(process).code == -signal.SIGKILL
    before = committed_uris(table)
    assert before
    ended = pixlake_here(*arguments, "--set=decode.isolate=false", "--json")
    assert (ended.code, ended.json["embedded_now"]) == (0, len(expected) - len(before)), ended.err
    audit(table, expected)


def kill_once(process: "subprocess.Popen[str]", table: str, rows: int) -> None:
    """SIGKILL when so many rows are committed."""
    deadline = time.monotonic() + 120
    while len(committed_uris(table)) < rows and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.kill()


@pytest.fixture
def uploaded(s3: Any, tmp_path: Path) -> tuple[str, StorageOptions]:
    bucket, storage = f"s3://{s3.bucket('lake')}", StorageOptions.model_validate(s3.storage_options)
    make_tars(tmp_path / "in", 1000, 500)
    for path in sorted((tmp_path / "in").iterdir()):
        store, key = object_store(f"{bucket}/in/{path.name}", storage)
        obstore.put(store, key, path.read_bytes())
    return bucket, storage


def settings(s3: Any) -> list[str]:
    return [f"--set=storage.{key}={value}" for key, value in s3.storage_options.items()]


def on_ray(source: str, table: str, *arguments: str) -> Ended:
    return pixlake("embed", source, table, *RAY, *arguments)


@pytest.mark.s3
@pytest.mark.parametrize("run", [embed_here, pytest.param(on_ray, marks=[pytest.mark.ray, pytest.mark.slow])])
def test_from_a_bucket_at_most_a_hundredth_of_a_request_an_image(
    s3: Any, uploaded: tuple[str, StorageOptions], tmp_path: Path, run: Callable[..., Ended]
) -> None:
    bucket, _ = uploaded
    table = f"{bucket}/lake/photos"
    ended = run(f"{bucket}/in", table, *settings(s3), "--json")
    assert (ended.code, ended.json["vectors"], ended.json["failures"]) == (0, 1000, 0), ended.err
    assert 0 < ended.json["requests_per_image"] <= 0.01
    expected = make_tars(tmp_path / "names", 1000, 500, root=f"{bucket}/in")
    audit(table, expected, options=lance_options(s3))


class ReplacingProxy(RecordingProxy):
    """Replaces an object right before it is asked for the second time: it has been listed, and not been fetched."""

    def __init__(self, endpoint_url: str, key: str, replace_it: Callable[[], None]) -> None:
        self._key, self._replace_it = key, replace_it
        super().__init__(endpoint_url)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith(self._key) and self.asked.count(f"GET {request.path.strip('/')}") == 1:
            await asyncio.get_running_loop().run_in_executor(None, self._replace_it)
        return await super().answer(request)


@pytest.mark.s3
def test_of_a_tar_that_is_replaced_under_a_run_no_byte_is_taken(
    s3: Any, uploaded: tuple[str, StorageOptions], tmp_path: Path
) -> None:
    bucket, storage = uploaded
    store, key = object_store(f"{bucket}/in/00001.tar", storage)
    other = write_tar(tmp_path / "b.tar", shard_of(range(5000, 5500))).read_bytes()

    def replace_it() -> None:
        obstore.put(store, key, other)

    proxy = ReplacingProxy(s3.endpoint_url, key, replace_it)
    table = f"{tmp_path}/lake/photos"
    try:
        ended = embed_here(f"{bucket}/in", table, *settings(s3), f"--set=storage.endpoint_url={proxy.url}", "--json")
    finally:
        proxy.close()
    assert (ended.code, ended.json["failures_by_class"]) == (0, {"source_changed": 500}), ended.err
    expected = make_tars(tmp_path / "names", 1000, 500, root=f"{bucket}/in")
    audit(table, [*expected[:500], *(replace(each, failure="source_changed") for each in expected[500:])])
