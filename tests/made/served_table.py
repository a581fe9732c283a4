"""A small table as `pixlake serve` meets it: images with hostile names and captions, words, failures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from jobs.embed import load, run
from made.open_clip_folders import write_folder

HOSTILE = "<img src=x onerror=document.title='owned'>"
SVG = "<svg xmlns='http://www.w3.org/2000/svg' onload='document.title=1'><script>document.title='owned'</script></svg>"
COLOURS = {
    "red": (230, 20, 20),
    "crimson": (200, 30, 50),
    "green": (20, 200, 40),
    "blue": (20, 40, 220),
    "navy": (10, 20, 120),
    "yellow": (240, 220, 20),
    HOSTILE: (120, 20, 140),
    "javascript:alert(1)": (20, 200, 200),
}
SIZE = (150, 100)
"""Of each image, in pixels."""


@dataclass(frozen=True)
class ServedFolder:
    """The images lie in `images`, one a colour with a white square in a corner of its own."""

    images: Path
    table: str
    model: str


def make_served(folder: Path) -> ServedFolder:
    images = folder / "images"
    images.mkdir()
    files = {}
    for at, (name, colour) in enumerate(COLOURS.items()):
        image = Image.new("RGB", SIZE, colour)
        image.paste((255, 255, 255), (10 * at, 10, 10 * at + 25, 35))
        files[name] = images / f"{name.replace('/', '_')}.png"
        image.save(files[name])
    files["svg"] = images / "drawing.png"
    files["svg"].write_text(SVG)
    files["missing"] = images / "missing.png"
    manifest = folder / "manifest.parquet"
    ids = list(files)
    captions = [f"a {name} thing" if name != HOSTILE else HOSTILE for name in ids]
    columns = {"id": ids, "uri": [str(each) for each in files.values()], "caption": captions}
    columns["number"] = pa.array(np.arange(len(ids)), pa.int64())
    pq.write_table(pa.table(columns), manifest)
    model = f"open_clip:local-dir:{write_folder(folder / 'model', 'clip')}"
    table = str(folder / "lake" / "served")
    base = {
        "source": {"uri": str(manifest), "id_column": "id", "keep": ["caption", "number"]},
        "table": table,
        "model": {"name": model},
        "cluster": {"executor": "local"},
        "decode": {"isolate": False},
    }
    report = run(load(base=base))
    assert (report.status, report.failed_now) == ("complete", 2)
    return ServedFolder(images=images, table=table, model=model)
