#!/usr/bin/env bash
# datasets 5.2.0, mosaicml-streaming 0.10.0, litdata 0.2.76, pillow-jxl-plugin 1.3.8: an image that was changed in place is stored
# as it was before.
#
# Each of them, given an image that Pillow has opened from a file, stores that file and not the picture, to save a second
# encoding: datasets any format and as a path, the others JPEG. Pillow's `thumbnail`, `paste`, `putalpha` and all that ImageDraw
# paints change a picture in place, and it still carries the name of its file. What `resize` or `convert` return is a new picture
# and is stored. So faces that were painted over, labels that were covered, and pictures that `thumbnail` made small are all what
# they were in what is shared and embedded. Nothing is raised (pillow-jxl warns of "JPEG reconstruction", not of this). Seen: a
# red photograph painted black comes back red from all four; from an image opened from bytes, black. In datasets the same function
# in `map` paints over images that lie in Parquet, and not those of a folder.
#
# Pixlake reads the bytes that are there: docs/manifests.md, images in Parquet.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/one"
python3 -m venv "$folder/other"
"$folder/one/bin/python" -m pip install --quiet --disable-pip-version-check \
    datasets==5.2.0 pillow-jxl-plugin==1.3.8 pillow==13.0.0 numpy==2.4.6
"$folder/other/bin/python" -m pip install --quiet --disable-pip-version-check \
    mosaicml-streaming==0.10.0 litdata==0.2.76 pillow==13.0.0 numpy==2.4.6
cat > "$folder/changed.py" <<'P'
import io
from pathlib import Path

from PIL import Image, ImageDraw


def photograph(folder):
    path = Path(folder) / "photograph.jpg"
    Image.new("RGB", (64, 64), (200, 30, 30)).save(path, quality=95)
    return str(path)


def paint_over(image):
    ImageDraw.Draw(image).rectangle((0, 0, 63, 63), fill=(0, 0, 0))
    assert max(image.getpixel((32, 32))) == 0
    return image


def inputs(folder):
    """The same photograph, painted over, by where it was opened from."""
    path = photograph(folder)
    return {
        "file": paint_over(Image.open(path)),
        "bytes": paint_over(Image.open(io.BytesIO(Path(path).read_bytes()))),
        "file, converted": paint_over(Image.open(path).convert("RGB")),
    }


def red(image):
    levels = image.convert("RGB").getpixel((32, 32))
    return levels[0] > 190
P
cat > "$folder/one.py" <<'P'
import sys
import warnings
from importlib.metadata import version

import pillow_jxl  # noqa: F401
from changed import inputs, paint_over, photograph, red
from datasets import Dataset, Features
from datasets import Image as Feature
from PIL import Image

folder = sys.argv[1]
print("datasets", version("datasets"), "pillow-jxl-plugin", version("pillow-jxl-plugin"), "pillow", version("pillow"))
seen = {}
for source, image in inputs(folder).items():
    stored = Dataset.from_dict({"image": [image]})[0]["image"]
    seen["datasets", source] = red(stored)
    with warnings.catch_warnings(record=True):
        image.save(f"{folder}/saved.jxl")
    seen["pillow-jxl-plugin", source] = red(Image.open(f"{folder}/saved.jxl"))
    print(f"opened from {source}: red in datasets {seen['datasets', source]}, in .jxl {seen['pillow-jxl-plugin', source]}")
    image.close()
path = photograph(folder)
with open(path, "rb") as file:
    rows = {"a folder": {"path": path, "bytes": None}, "Parquet": {"path": None, "bytes": file.read()}}
for source, row in rows.items():
    table = Dataset.from_dict({"image": [row]}, features=Features({"image": Feature()}))
    mapped = table.map(lambda row: {"image": paint_over(row["image"])})
    seen["map", source] = red(mapped[0]["image"])
    print(f"map over {source}: red {seen['map', source]}")
wrong = {key for key, is_red in seen.items() if is_red}
sys.exit(0 if wrong == {("datasets", "file"), ("pillow-jxl-plugin", "file"), ("map", "a folder")} else "changed")
P
cat > "$folder/other.py" <<'P'
import sys
from importlib.metadata import version
from pathlib import Path

from changed import inputs, red
from litdata import StreamingDataset
from litdata.streaming import Cache
from PIL import Image
from streaming import LocalDataset, MDSWriter

folder = sys.argv[1]
print("mosaicml-streaming", version("mosaicml-streaming"), "litdata", version("litdata"), "pillow", version("pillow"))
wrong = set()
for source, image in inputs(folder).items():
    if source != "bytes":  # mosaicml-streaming raises for a JPEG that has no file
        shards = str(Path(folder) / f"mds {source}")
        with MDSWriter(out=shards, columns={"image": "jpeg"}) as writer:
            writer.write({"image": image})
        stored = LocalDataset(shards)[0]["image"]
        print(f"mosaicml-streaming, opened from {source}: red {red(stored)}")
        wrong |= {("mosaicml-streaming", source)} if red(stored) else set()
    chunks = str(Path(folder) / f"litdata {source}")
    cache = Cache(chunks, chunk_size=1)
    cache[0] = {"image": image}
    cache.done()
    cache.merge()
    stored = StreamingDataset(chunks)[0]["image"]
    stored = stored if isinstance(stored, Image.Image) else Image.fromarray(stored.permute(1, 2, 0).numpy())
    print(f"litdata, opened from {source}: red {red(stored)}")
    wrong |= {("litdata", source)} if red(stored) else set()
sys.exit(0 if wrong == {("mosaicml-streaming", "file"), ("litdata", "file")} else "changed")
P
export PYTHONPATH="$folder" HF_HOME="$folder/cache" HF_DATASETS_DISABLE_PROGRESS_BARS=1
"$folder/one/bin/python" "$folder/one.py" "$folder"
"$folder/other/bin/python" "$folder/other.py" "$folder"
