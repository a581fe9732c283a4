"""One small table made by the embed job itself: local executor, null model."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from jobs.embed import EmbedConfig, Report, load, run

COLOURS = {"red": (250, 5, 5), "crimson": (220, 20, 60), "green": (5, 250, 5), "blue": (5, 5, 250), "o'grey": (9, 9, 9)}


SETTINGS = """
source: {id_column: id, keep: [length]}
cluster: {executor: local}
decode: {isolate: false}
"""


@dataclass(frozen=True)
class Made:
    """Five images of one colour each, one file that is no image and one that is missing."""

    folder: Path
    manifest: Path
    table: str
    settings: Path
    """The configuration file it was made with."""
    config: EmbedConfig
    report: Report


def make(folder: Path) -> Made:
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(folder / f"{name}.png")
    (folder / "notes.png").write_text("no image")
    ids = [*COLOURS, "notes", "missing"]
    manifest = folder / "manifest.parquet"
    columns = {"id": ids, "uri": [f"{i}.png" for i in ids], "length": pa.array(map(len, ids), pa.int32())}
    pq.write_table(pa.table(columns), manifest)
    table = str(folder / "lake" / "colours")
    settings = folder / "settings.yaml"
    settings.write_text(SETTINGS)
    base = {"source": {"uri": str(manifest)}, "table": table, "model": {"name": "null"}}
    config = load(files=[str(settings)], base=base)
    return Made(folder=folder, manifest=manifest, table=table, settings=settings, config=config, report=run(config))
