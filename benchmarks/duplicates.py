"""`python -m benchmarks.duplicates [--rows N]`: `pixlake duplicates` of made vectors, beside faiss alone.

Unit vectors of float16 in clusters, a tenth of them near-copies of another row at cosines from 0.9 to 1, stand in a
table. The bare limit is faiss without anything around it: an inverted file of the same vectors from a .npy file, with
as many lists, trained on as many vectors for as many rounds, and a range search of every vector at the same threshold.
Both are whole processes, in turn. Of what each finds, the share of the planted pairs is printed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from benchmarks.index_build import Synthetic, append
from benchmarks.machine import ROOT, machine
from benchmarks.turns import in_turn
from operators.base.arrays import vectors_from_numpy
from operators.models.load import describe
from operators.models.spec import parse_model_name
from operators.storage.stores import NO_OPTIONS
from pipelines.duplicates.pairs.cells import POINTS_PER_CELL, ROUNDS, cells_for, unit_rows
from pipelines.space.field import with_space
from pipelines.table.fenced_table import FencedTable

PER_FRAGMENT = 50_000
COPIES = 0.1
"""Share of rows that are a near-copy of another."""
FAISS_BATCH = 20_000
PIXLAKE = str(Path(sys.executable).with_name("pixlake"))


def make(folder: Path, rows: int) -> None:
    """The table and the same vectors as `.npy`, and `planted.npy` (P, 2): rows and the rows they are copies of."""
    made = Synthetic()
    copies = int(rows * COPIES)
    random = np.random.default_rng(7)
    vectors = np.concatenate(
        [made.vectors(min(PER_FRAGMENT, rows - copies - at), seed=at) for at in range(0, rows - copies, PER_FRAGMENT)]
    )
    originals = random.choice(len(vectors), copies, replace=False)
    cosines = random.uniform(0.9, 1, (copies, 1)).astype("f4")
    noise = random.normal(size=(copies, vectors.shape[1])).astype("f4")
    base = unit_rows(vectors[originals])
    noise -= (noise * base).sum(axis=1, keepdims=True) * base
    near = cosines * base + np.sqrt(1 - cosines**2) * unit_rows(noise)
    order = random.permutation(rows)
    place = np.argsort(order)
    vectors = np.concatenate([vectors, near.astype("f2")])[order]
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "planted.npy", np.stack([place[len(vectors) - copies :], place[originals]], axis=1))
    model = describe(parse_model_name("null"))
    table: FencedTable | None = None
    for first in range(0, rows, PER_FRAGMENT):
        some = vectors_from_numpy(vectors[first : first + PER_FRAGMENT])
        field = with_space(pa.field("vector", some.type), {"embed": {"family": "synthetic"}}, model)
        numbers = np.arange(first, first + len(some), dtype="i4")
        ids = [f"{number:09d}" for number in numbers]
        part = pa.table(
            [
                pa.array(np.zeros(len(some), "i4")),
                pa.array(numbers),
                pa.array(ids),
                pa.array([f"{n * 2654435761 % 2**32:08x}" * 8 for n in numbers.tolist()]),
                some,
            ],
            schema=pa.schema(
                [("shard", pa.int32()), ("row", pa.int32()), ("id", pa.string()), ("sha256", pa.string()), field]
            ),
        )
        if table is None:
            table, _ = FencedTable.create_or_open(str(folder / "lake" / "made.lance"), part.schema, NO_OPTIONS)
            table.claim(1, "bench")
        append(table, part)


def faiss_alone(folder: Path, threshold: float, probes: int) -> dict[str, Any]:
    """The bare limit, in this process: pairs found, and the share of planted ones among them."""
    import faiss

    began = time.perf_counter()
    units = unit_rows(np.load(folder / "vectors.npy"))
    rows, dim = units.shape
    lists = cells_for(rows)
    quantizer = faiss.IndexFlatIP(dim)
    index = faiss.IndexIVFFlat(quantizer, dim, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.max_points_per_centroid, index.cp.spherical = ROUNDS, POINTS_PER_CELL, True
    index.train(units)
    index.add(units)
    index.nprobe = probes
    trained = time.perf_counter()
    found = []
    for first in range(0, rows, FAISS_BATCH):
        limits, _, labels = index.range_search(units[first : first + FAISS_BATCH], threshold)
        left = first + np.repeat(np.arange(len(limits) - 1), np.diff(limits).astype(np.int64))
        later = left < labels
        found.append((left[later].astype(np.uint64) << np.uint64(32)) | labels[later].astype(np.uint64))
    keys = np.unique(np.concatenate(found))
    return {"pairs": len(keys), "planted": _share(folder, keys, units, threshold), "train_s": trained - began}


def _share(folder: Path, keys: np.ndarray, units: np.ndarray, threshold: float) -> float:
    """Share of the planted pairs at or above the threshold that are among the pairs found."""
    planted = np.sort(np.load(folder / "planted.npy"), axis=1).astype(np.uint64)
    alike = (
        np.einsum("nd,nd->n", units[planted[:, 0].astype(int)], units[planted[:, 1].astype(int)]) >= threshold + 1e-5
    )
    wanted = (planted[alike, 0] << np.uint64(32)) | planted[alike, 1]
    return float(np.isin(wanted, keys).mean())


def grouped_share(folder: Path, threshold: float) -> float:
    """Share of the planted pairs at or above the threshold of which a row is to be dropped, by the table made."""
    members = lance.dataset(str(folder / "lake" / "made__duplicates.lance")).to_table(columns=["row", "drop"])
    dropped = set(members.filter(members["drop"])["row"].to_pylist())
    units = unit_rows(np.load(folder / "vectors.npy"))
    planted = np.load(folder / "planted.npy")
    alike = np.einsum("nd,nd->n", units[planted[:, 0]], units[planted[:, 1]]) >= threshold + 1e-5
    return float(np.mean([a in dropped or b in dropped for a, b in planted[alike].tolist()]))


def measured(command: list[str]) -> dict[str, Any]:
    """Seconds, CPU seconds and peak memory (MiB, of the largest process) of one whole process, and its JSON."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stdin=subprocess.DEVNULL, cwd=ROOT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        out.seek(0)
        text = out.read().decode()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    about = {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / 1024}
    return about | {"result": json.loads(text)}


def in_a_process(make: Callable[[Path, int], None], folder: Path, rows: int) -> None:
    """Make what is measured elsewhere: Linux counts what a process held when it started another as that one's peak."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        process.submit(make, folder, rows).result()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.duplicates", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threshold", type=float, default=0.95)
    parser.add_argument("--probes", type=int, default=4, help="Lists that faiss looks into for each vector.")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="Kept, and made only where it is empty.")
    parser.add_argument("--faiss", action="store_true", help="Only the bare limit, in this process.")
    given = parser.parse_args()
    if given.faiss:
        print(json.dumps(faiss_alone(given.folder, given.threshold, given.probes)))
        return
    with tempfile.TemporaryDirectory(prefix="pixlake-bench-") as scratch:
        folder = (given.folder or Path(scratch)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "planted.npy").exists():
            in_a_process(make, folder, given.rows)
        print(json.dumps(compared(folder, given), indent=2))


def compared(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    threshold = str(given.threshold)
    ours = [
        PIXLAKE,
        "duplicates",
        str(folder / "lake" / "made"),
        "--threshold",
        threshold,
        "--keep",
        "oldest",
        "--json",
    ]
    ours += ["--set", "cluster.executor=local"]
    bare = [sys.executable, "-m", "benchmarks.duplicates", "--faiss", "--folder", str(folder)]
    bare += ["--threshold", threshold, "--probes", str(given.probes)]
    found = in_turn({"faiss": lambda: measured(bare), "pixlake": lambda: measured(ours)}, given.rounds)
    best = {side: min(runs, key=lambda run: float(run["seconds"])) for side, runs in found.items()}
    ratios = {unit: best["pixlake"][unit] / best["faiss"][unit] for unit in ("seconds", "cpu_seconds", "peak_mib")}
    dropped = grouped_share(folder, given.threshold)
    return {"ratio": ratios, "planted_with_one_to_drop": dropped, "best": best, "all": found, "machine": machine()}


if __name__ == "__main__":
    main()
