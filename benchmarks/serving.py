"""`python -m benchmarks.serving`: what a query of `pixlake serve` takes beside the model's forward pass, and 50 clients
at once.

A table of 100,000 rows of ViT-B/32 (512 float16): a few photographs that the embed job has embedded, and vectors that
are made up. The server is a process of its own, as a user starts it. A request and a forward pass of the same words, or
of an image, are timed in turn; the figure is the median of the differences.
"""

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from lance.fragment import write_fragments

from benchmarks.machine import machine
from benchmarks.photographs import make
from operators.base.arrays import vectors_from_numpy
from operators.models.load import load_image_embedder, load_text_embedder
from operators.models.runtime import Runtime
from operators.storage.stores import NO_OPTIONS
from pipelines.space.field import read_space
from pipelines.table.fenced_table import FencedTable
from pipelines.table.names import TableNames

MODEL = "open_clip:ViT-B-32/random-0"
ROWS, PHOTOGRAPHS = 100_000, 24
ASKED, CLIENTS, EACH = 40, 50, 4
PIXLAKE = Path(sys.executable).with_name("pixlake")
WORDS = "a red bicycle in the rain"


def make_table(folder: Path, rows: int) -> tuple[str, list[Path]]:
    """The table, and the photographs that it holds."""
    photographs = folder / "photographs"
    photographs.mkdir()
    files = make(photographs, PHOTOGRAPHS)
    table = str(folder / "lake" / "served")
    settings = ("--set", "cluster.executor=local", "--set", "model.precision=float32")
    subprocess.run([PIXLAKE, "embed", photographs, table, "--model", MODEL, *settings], check=True, capture_output=True)
    uri = TableNames.from_table(table).vectors
    dataset = lance.dataset(uri)
    fenced, _ = FencedTable.create_or_open(uri, dataset.schema, NO_OPTIONS)
    fenced.claim(fenced.term.number + 1, "benchmark")
    for first in range(PHOTOGRAPHS, rows, 25_000):
        more = _made_up(dataset.schema, first, min(25_000, rows - first))
        options = {"mode": "append", "enable_stable_row_ids": True, "data_storage_version": "2.2"}
        fenced.append(write_fragments(more, uri, **options), more["row"].to_numpy().astype(np.int64))
    return table, files


def _made_up(schema: pa.Schema, first: int, rows: int) -> pa.Table:
    random = np.random.default_rng(first)
    centres = np.random.default_rng(7).normal(size=(500, schema.field("vector").type.list_size))
    vectors = centres[random.integers(0, len(centres), rows)] + 0.7 * random.normal(size=(rows, centres.shape[1]))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    numbers = np.arange(first, first + rows, dtype=np.int32)
    names = [f"made-{number}" for number in numbers]
    given = {
        "id": pa.array(names),
        "uri": pa.array([f"/nowhere/{name}.jpg" for name in names]),
        "vector": vectors_from_numpy(vectors.astype(np.float16)),
        "shard": pa.array(np.ones(rows, np.int32)),
        "row": pa.array(numbers),
    }
    columns = [given[field.name] if field.name in given else pa.nulls(rows, field.type) for field in schema]
    return pa.table([each.cast(f.type) for each, f in zip(columns, schema, strict=True)], schema=schema)


@contextmanager
def serving(table: str) -> Iterator[tuple[str, float]]:
    """(host and port, seconds from exec to the first page)."""
    began = time.perf_counter()
    process = subprocess.Popen([PIXLAKE, "serve", table, "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        host = next(line.rpartition("http://")[2].strip().rstrip("/") for line in process.stderr if "http://" in line)
        _ask(host, "GET", "/", None)
        started = time.perf_counter() - began
        next(line for line in process.stderr if line.startswith("loaded"))
        yield host, started
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def _ask(host: str, method: str, path: str, body: bytes | None) -> Any:
    connection = http.client.HTTPConnection(host, timeout=120)
    try:
        connection.request(method, path, body, {"content-type": "application/json"} if body else {})
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}: {data[:300]!r}")
        return json.loads(data) if "json" in answer.headers["content-type"] else data
    finally:
        connection.close()


def _search(host: str, example: dict[str, Any]) -> None:
    found = _ask(host, "POST", "/api/search", json.dumps({"examples": [example], "k": 24}).encode())
    assert len(found["results"]) == 24


def beside(request: Callable[[], None], forward: Callable[[], object], asked: int) -> dict[str, float]:
    """Milliseconds, the medians: of a request, of a forward pass, and of what the one takes beside the other."""
    pairs = [(_ms(request), _ms(forward)) for _ in range(asked)]
    return {
        "request_ms": round(statistics.median(each for each, _ in pairs), 1),
        "forward_ms": round(statistics.median(each for _, each in pairs), 1),
        "beside_ms": round(statistics.median(one - other for one, other in pairs), 1),
    }


def _ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def crowd(host: str, examples: list[dict[str, Any]]) -> dict[str, float]:
    """50 clients that ask one after another, each several times."""
    taken: list[float] = []

    def ask(client: int) -> int:
        errors = 0
        for turn in range(EACH):
            try:
                taken.append(_ms(lambda turn=turn: _search(host, examples[(client + turn) % len(examples)])))  # type: ignore[misc]
            except (OSError, RuntimeError, http.client.HTTPException):
                errors += 1
        return errors

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        errors = sum(pool.map(ask, range(CLIENTS)))
    seconds = time.perf_counter() - began
    return {
        "clients": CLIENTS,
        "answers": len(taken),
        "errors": errors,
        "answers_per_s": round(len(taken) / seconds, 1),
        "p50_ms": round(statistics.median(taken)),
        "slowest_ms": round(max(taken)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--asked", type=int, default=ASKED, help="requests of each kind")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        table, files = make_table(Path(folder), given.rows)
        _, model = read_space(lance.dataset(f"{table}.lance").schema.field("vector"), table)
        texts, images = load_text_embedder(model), load_image_embedder(model, Runtime(backend="auto", batch_size=1))
        pixels = np.zeros((1, model.preprocess.height, model.preprocess.width, 3), np.uint8)
        with serving(table) as (host, started_s):
            image = {"by": "image", "value": _ask(host, "POST", "/api/images", files[0].read_bytes())["image"]}
            # The server keeps the vectors of words that it has been asked by.
            said = (f"{WORDS} {number}" for number in count())
            words, row = {"by": "text", "value": WORDS}, {"by": "id", "value": "made-500"}
            found = {
                "machine": machine(),
                "rows": given.rows,
                "started_s": round(started_s, 2),
                "words": beside(
                    lambda: _search(host, {"by": "text", "value": next(said)}),
                    lambda: texts.embed([WORDS]),
                    given.asked,
                ),
                "image": beside(lambda: _search(host, image), lambda: images.embed(pixels), given.asked),
                "row": beside(lambda: _search(host, row), lambda: None, given.asked),
                "crowd": crowd(host, [words, image, row]),
            }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
