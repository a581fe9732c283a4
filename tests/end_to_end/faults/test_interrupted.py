"""Ctrl-C and SIGTERM: what is finished is published, exit 75, and the same command goes on from there."""

import signal
import socket
import time
from pathlib import Path

import pytest

from end_to_end.audit import audit, committed_uris
from end_to_end.command import HERE, LOCAL, LOOPBACK, RAY, embed_here, end, pixlake, pixlake_here, start
from end_to_end.processes import wait_for_descendant
from made.sources import make_folder, write_manifest
from servers.images import ImageServer

SIZES = (
    *("--set", "cluster.block_rows=20", "--set", "cluster.rows_per_fragment=40"),
    *("--set", "cluster.num_cpus=2", "--set", "cluster.commit_interval_s=0.1"),
)


@pytest.mark.kill
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_interrupted_publishes_and_the_same_command_completes(
    tmp_path: Path, image_server: ImageServer, number: signal.Signals
) -> None:
    expected = image_server.expected(range(400))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    arguments = ("embed", manifest, table, *LOCAL, *LOOPBACK, *SIZES, "--json")
    image_server.hold_from(210)
    process = start(*arguments)
    image_server.wait_for_hold()
    deadline = time.monotonic() + 60
    while len(committed_uris(table)) < 80 and time.monotonic() < deadline:
        time.sleep(0.1)
    asked = time.monotonic()
    process.send_signal(number)
    ended = end(process)
    assert ended.code == 75, ended.err
    assert time.monotonic() - asked < 15, "a fetch that hangs must not hold the stop up"
    assert ended.json["status"] == "interrupted"
    assert "same command again" in ended.json["message"]
    published = committed_uris(table)
    # 210 requests are in, and five blocks of twenty at most are in work: all whole fragments of the others are there.
    assert 80 <= len(published) <= 200
    assert ended.json["vectors"] == ended.json["embedded_now"] == len(published)
    image_server.forget()
    again = pixlake_here(*arguments, *HERE)
    assert (again.code, again.json["status"], again.json["embedded_now"]) == (
        0,
        "complete",
        400 - len(published),
    ), again.err
    assert not published & set(image_server.requested)
    audit(table, expected)


@pytest.mark.kill
@pytest.mark.parametrize(
    "executor", [LOCAL, pytest.param(RAY, marks=[pytest.mark.ray, pytest.mark.slow])], ids=["local", "ray"]
)
def test_what_is_embedded_is_written_also_where_it_fills_no_fragment(
    tmp_path: Path, image_server: ImageServer, executor: tuple[str, ...]
) -> None:
    """A preempted machine has 30 s."""
    expected = image_server.expected(range(400))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    sizes = ("cluster.block_rows=20", "cluster.rows_per_fragment=1000", "cluster.commit_interval_s=1000")
    arguments = ("embed", manifest, table, *executor, *LOOPBACK, *SIZES, *(f"--set={size}" for size in sizes), "--json")
    image_server.hold_from(210)
    process = start(*arguments)
    image_server.wait_for_hold(240)
    time.sleep(3)
    assert not committed_uris(table)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    if executor == RAY:
        # There a block that hangs holds up what is embedded, too.
        time.sleep(2)
        image_server.release()
    ended = end(process)
    assert (ended.code, ended.json["status"]) == (75, "interrupted"), ended.err
    assert time.monotonic() - asked < 30
    assert ended.json["vectors"] == len(committed_uris(table)) >= 100
    image_server.forget()
    again = pixlake_here(*arguments, *HERE)
    assert (again.code, again.json["status"]) == (0, "complete"), again.err
    audit(table, expected)


@pytest.mark.kill
@pytest.mark.parametrize(
    "executor", [LOCAL, pytest.param(RAY, marks=[pytest.mark.ray, pytest.mark.slow])], ids=["local", "ray"]
)
def test_a_run_that_stands_still_ends_by_itself_and_says_where(
    tmp_path: Path, image_server: ImageServer, executor: tuple[str, ...]
) -> None:
    expected = image_server.expected(range(200))
    manifest, table = write_manifest(tmp_path / "manifest.parquet", expected), f"{tmp_path}/lake/photos"
    patience = ("--set", f"cluster.no_progress_timeout_s={10 if executor == LOCAL else 60}")
    fetch = ("--set=fetch.object_s=500", "--set=fetch.first_byte_s=500", "--set=decode.isolate=false")
    arguments = ("embed", manifest, table, *executor, *LOOPBACK, *SIZES, *patience, "--json")
    image_server.hold_from(130)
    ended = pixlake(*arguments, *fetch)
    assert (ended.code, ended.json["status"]) == (75, "interrupted"), ended.err
    assert "nothing has moved for" in ended.json["message"]
    assert "embed" in ended.json["message"].lower()
    assert "same command again" in ended.json["message"]
    assert 40 <= ended.json["vectors"] == len(committed_uris(table)) < 200
    image_server.release()
    image_server.forget()
    again = pixlake_here(*arguments, *HERE)
    assert (again.code, again.json["status"]) == (0, "complete"), again.err
    audit(table, expected)


@pytest.mark.kill
def test_while_a_model_is_resolved_nothing_is_waited_for(tmp_path: Path) -> None:
    make_folder(tmp_path / "images", range(3))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(120)
        hub = {"HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}", "HF_HUB_ETAG_TIMEOUT": "200"}
        arguments = ("embed", f"{tmp_path}/images", f"{tmp_path}/lake/photos", "--model", "timm:test_vit")
        process = start(*arguments, environment={**hub, "HF_HOME": f"{tmp_path}/hf"})
        connection, _ = silent.accept()
        with connection:
            child = wait_for_descendant(process.pid, "operators.models.child")
            asked = time.monotonic()
            process.send_signal(signal.SIGINT)
            ended = end(process)
            waited = time.monotonic() - asked
    assert ended.code == 75, ended.err
    assert waited < 10, "it takes no answer of the hub"
    assert ended.err.splitlines()[-1] == "pixlake: interrupted"
    assert "Traceback" not in ended.err
    assert not Path(f"/proc/{child}").exists()
    assert not (tmp_path / "lake/photos.lance").exists()


@pytest.mark.kill
@pytest.mark.ray
@pytest.mark.parametrize("after_s", [pytest.param(0.0, marks=pytest.mark.slow), 2.0])
def test_a_signal_while_ray_starts_stops_the_run_as_any_other(tmp_path: Path, after_s: float) -> None:
    """Ray's own handler would end the process with 15 and without a word."""
    make_folder(tmp_path / "images", range(3))
    process = start("embed", f"{tmp_path}/images", f"{tmp_path}/lake/photos", *RAY, "--json")
    assert process.stderr is not None
    said = ""
    while "starting Ray" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    time.sleep(after_s)
    process.send_signal(signal.SIGTERM)
    ended = end(process)
    assert ended.code == 75, ended.err
    assert (ended.json["status"], ended.json["embedded_now"]) == ("interrupted", 0)
    again = embed_here(f"{tmp_path}/images", f"{tmp_path}/lake/photos", "--json")
    assert (again.code, again.json["vectors"]) == (0, 3)
