"""`python -m benchmarks.clusters [--rows N] [--k K]`: `pixlake cluster` of made vectors, beside faiss alone.

Unit vectors of float16 in clusters stand in a table. The bare limit is faiss without anything around it: the same
vectors from a .npy file, spherical k-means on as many of them drawn at random, for as many rounds, and the nearest
centre of every vector, written as .npy. Both are whole processes, in turn. Both objectives (the mean cosine to the
centre, of all rows) are printed: neither side may be faster by doing less.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.duplicates import in_a_process, measured
from benchmarks.index_build import Synthetic, append
from benchmarks.machine import machine
from benchmarks.turns import in_turn
from jobs.cluster import SAMPLE
from operators.storage.stores import NO_OPTIONS
from operators.vectors.spherical_kmeans import ITERATIONS
from pipelines.clusters.fit import FEWEST_A_CLUSTER
from pipelines.table.fenced_table import FencedTable

PER_FRAGMENT = 50_000


def make(folder: Path, rows: int) -> None:
    """The table, and the same vectors as `vectors.npy`, written block by block."""
    made = Synthetic()
    table: FencedTable | None = None
    stored = None
    for first in range(0, rows, PER_FRAGMENT):
        part: pa.Table = made.rows(min(PER_FRAGMENT, rows - first), first, seed=first)
        vectors = np.asarray(part["vector"].combine_chunks().flatten()).reshape(part.num_rows, -1)
        if table is None or stored is None:
            table, _ = FencedTable.create_or_open(str(folder / "lake" / "made.lance"), part.schema, NO_OPTIONS)
            table.claim(1, "bench")
            shape = (rows, vectors.shape[1])
            stored = np.lib.format.open_memmap(folder / "vectors.part", "w+", np.float16, shape)
        stored[first : first + len(vectors)] = vectors
        append(table, part)
    (folder / "vectors.part").rename(folder / "vectors.npy")


def faiss_alone(folder: Path, k: int) -> dict[str, Any]:
    """The bare limit, in this process."""
    import faiss

    began = time.perf_counter()
    stored = np.load(folder / "vectors.npy").astype(np.float32)
    faiss.normalize_L2(stored)
    sample = min(len(stored), max(SAMPLE, FEWEST_A_CLUSTER * k))
    drawn = stored[np.sort(np.random.default_rng(0).choice(len(stored), sample, replace=False))]
    kmeans = faiss.Kmeans(stored.shape[1], k, niter=ITERATIONS, seed=0, spherical=True, max_points_per_centroid=sample)
    kmeans.train(drawn)
    trained = time.perf_counter()
    cosines, clusters = kmeans.index.search(stored, 1)
    np.save(folder / "clusters.npy", clusters[:, 0].astype(np.int32))
    np.save(folder / "cosines.npy", cosines[:, 0])
    return {"mean_cosine": float(cosines.mean()), "train_s": trained - began}


def compared(folder: Path, k: int, rounds: int) -> dict[str, Any]:
    pixlake, names = str(Path(sys.executable).with_name("pixlake")), iter(f"c{k}_{n}" for n in range(rounds))

    def ours() -> dict[str, Any]:
        table = str(folder / "lake" / "made")
        options = ["--k", str(k), "--name", f"{next(names)}_{time.time_ns()}", "--set", "cluster.executor=local"]
        run = measured([pixlake, "cluster", table, *options, "--json"])
        result = run["result"]
        sizes = [(each["size"], each["cohesion"] or 0.0) for each in result["clusters"]]
        mean = sum(size * cohesion for size, cohesion in sizes) / sum(size for size, _ in sizes)
        return run | {"result": {"mean_cosine": mean, "seconds": result["seconds"], "rows": result["rows"]}}

    bare = [sys.executable, "-m", "benchmarks.clusters", "--faiss", "--folder", str(folder), "--k", str(k)]
    found = in_turn({"faiss": lambda: measured(bare), "pixlake": ours}, rounds)
    best = {side: min(runs, key=lambda run: float(run["cpu_seconds"])) for side, runs in found.items()}
    ratios = {unit: best["pixlake"][unit] / best["faiss"][unit] for unit in ("seconds", "cpu_seconds", "peak_mib")}
    return {"k": k, "ratio": ratios, "best": best, "all": found, "machine": machine()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clusters", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--k", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="Kept, and made only where it is empty.")
    parser.add_argument("--faiss", action="store_true", help="Only the bare limit, in this process.")
    given = parser.parse_args()
    if given.faiss:
        print(json.dumps(faiss_alone(given.folder, given.k)))
        return
    with tempfile.TemporaryDirectory(prefix="pixlake-bench-") as scratch:
        folder = (given.folder or Path(scratch)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "vectors.npy").exists():
            in_a_process(make, folder, given.rows)
        print(json.dumps(compared(folder, given.k, given.rounds), indent=2))


if __name__ == "__main__":
    main()
