"""Parquet files with images in them, through the command: from a folder, from a bucket, killed, and tried again."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import pytest

from end_to_end.audit import audit, committed_uris, read
from end_to_end.command import LOCAL, RAY, Ended, embed_here, end, pixlake, pixlake_here, start
from made.parquet_images import write_images
from made.s3_source import lance_options
from operators.storage.stores import StorageOptions, object_store


def on_ray(source: str, table: str, *arguments: str) -> Ended:
    return pixlake("embed", source, table, *RAY, *arguments)


def test_images_in_parquet_are_embedded_once(tmp_path: Path) -> None:
    expected = write_images(tmp_path / "in/0.parquet", range(90), missing=2)
    expected += write_images(tmp_path / "in/1.parquet", range(90, 120))
    table = f"{tmp_path}/lake/photos"
    ended = embed_here(f"{tmp_path}/in", table, "--set", "source.keep=[label]", "--json")
    assert (ended.code, ended.json["vectors"], ended.json["failures_by_class"]) == (0, 118, {"not_found": 2}), ended.err
    assert "column 'image' holds the images' bytes" in ended.err
    audit(table, expected)
    assert read(table)[0]["label"].to_pylist()[:2] == ["label 0", "label 1"]
    again = embed_here(f"{tmp_path}/in", table, "--set", "source.keep=[label]", "--json")
    assert (again.code, again.json["embedded_now"]) == (0, 0), again.err
    retried = embed_here(f"{tmp_path}/in", table, "--set", "source.keep=[label]", "--retry-failed", "--json")
    assert (retried.code, retried.json["failed_now"]) == (0, 2), retried.err
    audit(table, expected)


def test_a_limit_is_gone_on_from(tmp_path: Path) -> None:
    expected, table = write_images(tmp_path / "a.parquet", range(60)), f"{tmp_path}/lake/photos"
    for limit in (10, 25):
        assert embed_here(f"{tmp_path}/a.parquet", table, "--limit", str(limit)).code == 0
        audit(table, expected[:limit], gaps=True)
    assert embed_here(f"{tmp_path}/a.parquet", table, "--json").json["embedded_now"] == 35
    audit(table, expected)


@pytest.mark.kill
def test_killed_and_resumed(tmp_path: Path) -> None:
    expected = write_images(tmp_path / "a.parquet", range(3000), group_rows=250)
    table = f"{tmp_path}/lake/photos"
    sizes = (
        "--set=cluster.block_rows=50",
        "--set=cluster.rows_per_fragment=150",
        "--set=cluster.commit_interval_s=0.1",
    )
    arguments = ("embed", f"{tmp_path}/a.parquet", table, *LOCAL, *sizes)
    process = start(*arguments)
    deadline = time.monotonic() + 120
    while len(committed_uris(table)) < 600 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    assert end(process).code == -signal.SIGKILL
    before = committed_uris(table)
    ended = pixlake_here(*arguments, "--set=decode.isolate=false", "--json")
    assert (ended.code, ended.json["embedded_now"]) == (0, len(expected) - len(before)), ended.err
    audit(table, expected)


@pytest.mark.s3
@pytest.mark.parametrize("run", [embed_here, pytest.param(on_ray, marks=[pytest.mark.ray, pytest.mark.slow])])
def test_from_a_bucket_at_most_a_hundredth_of_a_request_an_image(
    s3: Any, tmp_path: Path, run: Callable[..., Ended]
) -> None:
    bucket, storage = f"s3://{s3.bucket('lake')}", StorageOptions.model_validate(s3.storage_options)
    expected = write_images(tmp_path / "a.parquet", range(1500), group_rows=500, root=f"{bucket}/in")
    store, key = object_store(f"{bucket}/in/a.parquet", storage)
    obstore.put(store, key, (tmp_path / "a.parquet").read_bytes())
    settings = [f"--set=storage.{name}={value}" for name, value in s3.storage_options.items()]
    table = f"{bucket}/lake/photos"
    ended = run(f"{bucket}/in", table, *settings, "--json")
    assert (ended.code, ended.json["vectors"]) == (0, 1500), ended.err
    assert 0 < ended.json["requests_per_image"] <= 0.01
    audit(table, expected, options=lance_options(s3))
