"""A model that is asked over the network, from the command line to the table: quota, spend cap, refusal, search."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest

from end_to_end.audit import read
from end_to_end.command import Ended, pixlake, pixlake_here
from made.solid_images import colour_of
from made.sources import make_folder
from pipelines.commits.committer import Committer
from pipelines.table.names import TableNames
from servers.vertex import Arrival, Fault, VertexServer, error, vector_of_image

NUMBERS = range(0, 240, 6)
"""Forty colours far enough from each other for a JPEG to keep them apart."""
MODEL = "vertex:multimodalembedding@001/128"


@pytest.fixture
def server() -> Iterator[VertexServer]:
    server = VertexServer()
    yield server
    server.close()


@pytest.fixture
def images(tmp_path: Path) -> str:
    make_folder(tmp_path / "images", NUMBERS)
    return str(tmp_path / "images")


@pytest.fixture
def job(server: VertexServer, tmp_path: Path) -> str:
    """The file of the embed job, which serves the search as it is. Small images: the service is not there to scale."""
    (tmp_path / "job.yaml").write_text(
        f"""
model: {{name: "{MODEL}", preprocess: {{image_size: 64}}}}
api: {{endpoint: "{server.url}", project: demo, requests_per_minute: 60000, retry_s: 5}}
decode: {{isolate: false}}
cluster: {{executor: local, block_rows: 8, rows_per_fragment: 8}}
"""
    )
    return str(tmp_path / "job.yaml")


def embed(images: str, table: str, job: str, *more: str) -> Ended:
    sets = [word for each in more for word in ("--set", each)]
    return pixlake_here("embed", images, table, "--config", job, "--json", *sets)


def number_of(arrival: Arrival) -> int:
    """Which of the images came in."""
    green = arrival.pixels[..., 1].mean()
    return min(NUMBERS, key=lambda number: abs(number - green))


def paid(server: VertexServer) -> Counter[int]:
    return Counter(number_of(arrival) for arrival in server.answered)


def check_table(table: str, failed: int = 0) -> int:
    """Every row has the vector of its own image, none stands there twice; gives the number of vectors."""
    vectors, failures = read(table)
    assert failures.num_rows == failed
    numbers = [int(Path(uri).stem) for uri in vectors["uri"].to_pylist()]
    assert len(set(numbers)) == len(numbers)
    found = np.array(vectors["vector"].to_pylist(), np.float32)
    wanted = np.stack([unit_vector(number) for number in numbers]) if numbers else found
    assert np.abs(found - wanted).max(initial=0.0) < 0.002
    return len(numbers)


def unit_vector(number: int) -> np.ndarray:
    vector = vector_of_image(np.full((64, 64, 3), colour_of(number), np.uint8), 128)
    unit: np.ndarray = vector / np.linalg.norm(vector)
    return unit


def test_the_spend_cap_stops_resumably_and_nothing_is_paid_twice(
    server: VertexServer, images: str, job: str, tmp_path: Path
) -> None:
    table = f"{tmp_path}/lake/photos"
    server.act = lambda arrival: error(400, "INVALID_ARGUMENT", "no") if number_of(arrival) == 18 else None

    def refused() -> int:
        return sum(number_of(arrival) == 18 for arrival in server.arrivals)

    for run in (1, 2):
        # Which blocks ask before the money is spent is the scheduler's choice: the image may wait for a later run.
        before = refused()
        ended = embed(images, table, job, "api.max_spend_usd=0.0015", "api.usd_per_1000_images=0.1")
        assert ended.code == 75, ended.err
        report = ended.json
        assert report["status"] == "interrupted"
        assert "api.max_spend_usd = 0.0015" in report["message"]
        assert (report["embedded_now"], report["api_spend_usd"]) == (15, 0.0015)
        assert report["api_requests"] == 15 + refused() - before
        assert check_table(table, failed=refused()) == 15 * run == len(server.answered)
    ended = embed(images, table, job, "api.max_spend_usd=0.0015", "api.usd_per_1000_images=0.1")
    assert (ended.code, ended.json["status"], ended.json["vectors"]) == (0, "complete", 39), ended.err
    assert ended.json["api_spend_usd"] == 0.0009
    assert check_table(table, failed=1) == 39
    assert refused() == 1
    assert set(paid(server).values()) == {1}


def test_what_is_paid_for_passes_the_stages_that_follow(
    server: VertexServer, images: str, job: str, tmp_path: Path
) -> None:
    stages = [
        {"name": "before", "operators": ["fetch", "decode"]},
        {"name": "ask", "operators": ["embed"]},
        {"name": "after", "operators": ["normalize"]},
    ]
    table = f"{tmp_path}/lake/photos"
    ended = embed(images, table, job, f"cluster.stages={json.dumps(stages)}", "api.max_spend_usd=0.0015")
    assert ended.code == 75, ended.err
    assert check_table(table) == len(server.answered) == 15


def test_a_cap_that_pays_for_the_last_image_completes(
    server: VertexServer, images: str, job: str, tmp_path: Path
) -> None:
    ended = embed(images, f"{tmp_path}/t", job, "api.max_spend_usd=0.004")
    assert (ended.code, ended.json["vectors"]) == (0, 40), ended.err


def test_a_cap_of_nothing_embeds_nothing(server: VertexServer, images: str, job: str, tmp_path: Path) -> None:
    ended = embed(images, f"{tmp_path}/t", job, "api.max_spend_usd=0")
    assert (ended.code, ended.json["vectors"], ended.json["api_spend_usd"]) == (75, 0, 0.0), ended.err
    assert not server.arrivals


def test_a_refused_caller_ends_the_run_with_what_is_wrong_and_loses_nothing(
    server: VertexServer, images: str, job: str, tmp_path: Path
) -> None:
    denied = error(403, "PERMISSION_DENIED", "This API method requires billing to be enabled on project demo.")
    server.act = lambda arrival: denied if number_of(arrival) >= 120 else None
    table = f"{tmp_path}/lake/photos"
    ended = embed(images, table, job, "api.max_concurrency=1", "cluster.block_rows=100")
    assert ended.code == 2
    assert "requires billing to be enabled" in ended.err
    assert "run the same command again" in ended.err
    assert check_table(table) == len(server.answered) == 20
    [stored] = Path(f"{table}__runs").glob("*/report.json")
    report = json.loads(stored.read_text())
    assert (report["status"], report["vectors"], report["api_requests"], report["api_spend_usd"]) == (
        "failed",
        20,
        21,
        0.002,
    )
    assert "requires billing to be enabled" in report["message"]
    server.act = lambda arrival: None
    ended = embed(images, table, job)
    assert (ended.code, ended.json["status"]) == (0, "complete"), ended.err
    assert check_table(table) == 40
    assert set(paid(server).values()) == {1}


def test_an_interrupted_run_writes_all_that_was_paid_for(
    server: VertexServer, images: str, job: str, tmp_path: Path
) -> None:
    """Nothing was due to be written yet: a fragment would hold more rows than there are."""

    def interrupt(arrival: Arrival) -> Fault:
        if len(server.arrivals) == 13:
            os.kill(os.getpid(), signal.SIGINT)
        return Fault(delay_s=0.2)

    server.act = interrupt
    table = f"{tmp_path}/lake/photos"
    ended = embed(images, table, job, "api.max_concurrency=3", "cluster.rows_per_fragment=1000")
    assert ended.code == 75, ended.err
    assert "stopped as asked" in ended.json["message"]
    assert 13 <= check_table(table) == len(server.answered) < 25
    server.act = lambda arrival: None
    ended = embed(images, table, job)
    assert (ended.code, ended.json["status"]) == (0, "complete"), ended.err
    assert check_table(table) == 40
    assert set(paid(server).values()) == {1}


def test_a_run_that_another_driver_ends_pays_for_nothing_more(
    server: VertexServer, images: str, job: str, tmp_path: Path
) -> None:
    table = f"{tmp_path}/lake/photos"

    def take_over(arrival: Arrival) -> Fault:
        if len(server.arrivals) == 10:
            names = TableNames.from_table(table)
            Committer.open(names, lance.dataset(names.vectors).schema, run_id="later")
        return Fault(delay_s=0.1)

    server.act = take_over
    small = ("cluster.block_rows=4", "cluster.rows_per_fragment=4", "cluster.commit_interval_s=0.01")
    ended = embed(images, table, job, "api.max_concurrency=1", *small)
    assert ended.code == 1, ended.err
    assert "took the table over" in ended.json["message"]
    sent = len(server.arrivals)
    assert sent < 30
    time.sleep(1.0)
    assert len(server.arrivals) <= sent + 1


def test_images_and_words_are_searched_through_the_same_api(
    server: VertexServer, images: str, job: str, tmp_path: Path
) -> None:
    table = f"{tmp_path}/lake/photos"
    assert embed(images, table, job).code == 0
    red, green, blue = colour_of(60)
    for query in (("--image", f"{images}/00060.png"), ("--text", f"colour {red} {green} {blue}")):
        ended = pixlake_here("search", table, *query, "-k", "1", "--config", job, "--json")
        assert ended.code == 0, ended.err
        [row] = ended.json["results"]
        assert row["uri"].endswith("00060.png")
        assert row["score"] > 0.999
    assert server.arrivals[-1].text == "colour 255 60 0"
    assert {arrival.dim for arrival in server.arrivals} == {128}
    server.act = lambda arrival: error(403, "PERMISSION_DENIED", "not allowed")
    for query in (("--image", f"{images}/00060.png"), ("--text", "colour 1 2 3")):
        ended = pixlake_here("search", table, *query, "--config", job)
        assert ended.code == 2
        assert "PERMISSION_DENIED: not allowed" in ended.err


def test_beside_another_model(server: VertexServer, images: str, job: str, tmp_path: Path) -> None:
    table = f"{tmp_path}/lake/photos"
    values = json.dumps({"asked": {"name": MODEL}, "made": {"name": "null"}})
    job_text = Path(job).read_text().replace("model: {", "unused: {").splitlines()
    Path(job).write_text(
        "\n".join(line for line in job_text if not line.startswith("unused")) + f"\nmodels: {values}\n"
    )
    server.act = lambda arrival: error(400, "INVALID_ARGUMENT", "no") if number_of(arrival) == 18 else None
    ended = embed(images, table, job, "source.limit=8")
    assert (ended.code, ended.json["vectors"], ended.json["api_requests"]) == (0, 7, 8), ended.err
    vectors, failures = read(table)
    assert {"vector_asked", "vector_made"} <= set(vectors.column_names)
    [why] = failures["error"].to_pylist()
    assert why.startswith("vector_asked: ")


def test_a_dry_run_asks_nobody_and_shows_what_is_the_providers(
    server: VertexServer, images: str, job: str, tmp_path: Path
) -> None:
    ended = pixlake_here("embed", images, f"{tmp_path}/t", "--config", job, "--dry-run")
    assert ended.code == 0, ended.err
    assert "multimodalembedding@001" in ended.out
    assert "the provider's" in ended.out
    assert not server.arrivals


@pytest.mark.ray
@pytest.mark.slow
def test_on_ray_actors_share_one_rate_and_one_cap(server: VertexServer, images: str, job: str, tmp_path: Path) -> None:
    """Two actors, each with eight requests in flight: together 10 a second, and together 35 images."""

    def slow(arrival: Arrival) -> Fault:
        return Fault(delay_s=0.2)

    server.act = slow
    sets: list[Any] = ["api.requests_per_minute=600", "api.max_concurrency=8", "api.max_spend_usd=0.0035"]
    sets += [
        "cluster.executor=ray",
        "cluster.num_cpus=2",
        "cluster.block_rows=4",
        "cluster.object_store_bytes=100000000",
    ]
    arguments = [word for each in sets for word in ("--set", each)]
    table = f"{tmp_path}/lake/photos"
    ended = pixlake("embed", images, table, "--config", job, "--json", *arguments)
    assert ended.code == 75, ended.err
    assert ended.json["api_spend_usd"] == 0.0035
    assert check_table(table) == len(server.answered) == 35
    assert server.connections > 2
    times = sorted(arrival.at for arrival in server.arrivals)
    busiest = max(sum(start <= at < start + 2.0 for at in times) for start in times)
    assert busiest <= 26, "20 in two seconds, and what a stall of half a second holds up"
    ended = embed(images, table, job)
    assert (ended.code, ended.json["status"]) == (0, "complete"), ended.err
    assert check_table(table) == 40
    assert set(paid(server).values()) == {1}
