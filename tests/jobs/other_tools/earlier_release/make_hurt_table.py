"""Makes hurt.tar.xz: a table that a release of 2026-11-28 made and indexed, hurt by plain lancedb.

That is commit c678ac5 with pylance 14.0.2 beside lancedb 0.40.0 (Lance 13.0.0). Run in a checkout of it, by a Python
that has these two: `cd OLD && PYTHONPATH=. python …/tests/jobs/earlier_release/make_hurt_table.py OUT.tar.xz`.
Printed by pylance 14.0.2 when this was made, filter by filter, rows by index and by scan:

    id = 'i30'           0 1
    uri = '/p/i30.jpg'   0 1
    number < 17          16 0
    number >= 1000       16 16
"""

import sys
import tarfile
import tempfile
from pathlib import Path

import lance
import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.config import load_config
from jobs.embed import EmbedConfig
from jobs.embed import run as embed
from jobs.index import IndexConfig
from jobs.index import run as index

ROWS, DIM = 50, 8
SCALAR = ("even", "number=BITMAP")


def main(out: str) -> None:
    folder = Path(tempfile.mkdtemp())
    table = str(folder / "lake" / "photos")
    config = {
        "source": {
            "uri": str(write_ready_vectors(folder / "ready")),
            "id_column": "key",
            "keep": ["number", "even", "label"],
            "vectors": {"model": "ready"},
        },
        "table": table,
        "cluster": {"executor": "local"},
    }
    for limit in (17, 34, None):
        embed(load_config(EmbedConfig, base=config | {"source": config["source"] | {"limit": limit}}))
    made = IndexConfig(table=table, scalar=SCALAR, cluster={"executor": "local"}, queries=20)
    index(made.model_copy(update={"type": "IVF_FLAT", "num_partitions": 2}))
    lancedb.connect(str(folder / "lake")).open_table("photos").update(where="number < 17", values={"number": 1000})
    # Adds a piece to the BITMAP, beside one that holds the old values of the same row ids.
    index(made)
    lancedb.connect(str(folder / "lake")).open_table("photos").optimize()
    for where in ("id = 'i30'", "uri = '/p/i30.jpg'", "number < 17", "number >= 1000"):
        dataset = lance.dataset(f"{table}.lance")
        scan = dataset.scanner(filter=where, use_scalar_index=False).count_rows()
        print(f"{where:20} {dataset.count_rows(where)} {scan}")
    with tarfile.open(out, "w:xz") as archive:
        archive.add(folder / "lake", "lake")


def write_ready_vectors(folder: Path) -> Path:
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    vectors = np.random.default_rng(0).normal(size=(ROWS, DIM)).astype("f4")
    vectors[[5, 45]] = 0
    np.save(folder / "img_emb" / "img_emb_0000.npy", vectors)
    columns = {
        "image_path": [f"/p/i{n}.jpg" for n in range(ROWS)],
        "key": [f"i{n}" for n in range(ROWS)],
        "number": pa.array(range(ROWS), pa.int64()),
        "even": [n % 2 == 0 for n in range(ROWS)],
        "label": [("cat", "dog", "bird")[n % 3] for n in range(ROWS)],
    }
    pq.write_table(pa.table(columns), folder / "metadata" / "metadata_0000.parquet")
    return folder


if __name__ == "__main__":
    main(sys.argv[1])
