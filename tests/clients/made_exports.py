"""The table and the exports that the page's lines read, made by the commands that it shows, and what NumPy finds."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clients.clients_page import PAGE

ROWS, DIM, K = 1000, 64, 5
QUERY = 123
_LOCAL = ("--set", "cluster.executor=local")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a right answer is."""

    ids: list[str]
    """The nearest rows by cosine, nearest first."""
    rows: int


def make(folder: Path) -> Expected:
    """`lake/photos` from ready vectors, the exports, `query.npy` and `query.json`."""
    vectors = _vectors()
    for name in ("img_emb", "metadata"):
        (folder / "ready" / name).mkdir(parents=True)
    np.save(folder / "ready" / "img_emb" / "0.npy", vectors)
    ids = [f"id-{row}" for row in range(ROWS)]
    labels = ["cat" if row % 3 else "dog" for row in range(ROWS)]
    columns = {"image_path": [f"/photos/{each}.jpg" for each in ids], "key": ids, "label": labels}
    pq.write_table(pa.table(columns), folder / "ready" / "metadata" / "0.parquet")
    settings = ["source.vectors.model=made up", "source.id_column=key", "source.keep=[label]"]
    given = [part for each in settings for part in ("--set", each)]
    _pixlake(folder, "embed", "ready", "lake/photos", *given, *_LOCAL)
    for line in re.findall(r"^pixlake ((?:reduce|export) .*?)(?: +#.*)?$", PAGE.read_text(), re.MULTILINE):
        _pixlake(folder, *line.split(), *_LOCAL)
    query = vectors[QUERY] + 0.05 * np.random.default_rng(1).normal(size=DIM).astype("f4")
    query /= np.linalg.norm(query)
    np.save(folder / "query.npy", query)
    (folder / "query.json").write_text(str(query.tolist()))
    scores = _stored(vectors) @ query.astype("f8")
    best = np.argsort(-scores)[: K + 1]
    assert np.diff(-scores[best]).min() > 1e-3, "float16 may not change the order"
    return Expected(ids=[ids[row] for row in best[:K]], rows=ROWS)


def _vectors() -> np.ndarray:
    """(ROWS, DIM) float32 of unit length, in clusters."""
    random = np.random.default_rng(0)
    centers = random.normal(size=(40, DIM))
    vectors = centers[random.integers(0, 40, ROWS)] + 0.7 * random.normal(size=(ROWS, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("f4")


def _stored(vectors: np.ndarray) -> np.ndarray:
    """float64 of the float16 that the table has."""
    halves = vectors.astype("f2").astype("f8")
    unit: np.ndarray = halves / np.linalg.norm(halves, axis=1, keepdims=True)
    return unit


def _pixlake(folder: Path, *arguments: str) -> None:
    ended = subprocess.run(
        [Path(sys.executable).with_name("pixlake"), *arguments], cwd=folder, capture_output=True, text=True
    )
    if ended.returncode:
        raise SystemExit(f"pixlake {' '.join(arguments)}:\n{ended.stderr}")
