#!/usr/bin/env bash
# mosaicml-streaming 0.10.0 and litdata 0.2.76: a palette image is stored without its palette, and comes back black.
#
# The column "pil" of mosaicml-streaming and the way in which litdata stores any Pillow image but a JPEG keep a picture's mode,
# size and raw bytes, "as it is". Of mode P (GIF, most small PNGs, screenshots that a tool has made smaller) the raw bytes are
# indices, and the colours are in the palette, which is neither written nor asked for. What comes back is of the right mode and
# size, with no colours: black in every pixel after `convert("RGB")`, and one vector for all of them. Nothing is raised or logged.
# L, LA, RGB, RGBA and CMYK come back as they were; "png" in mosaicml-streaming keeps the palette.
#
# Pixlake reads the files themselves, palettes included: docs/images.md.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    mosaicml-streaming==0.10.0 litdata==0.2.76 pillow==13.0.0 numpy==2.4.6
cat > "$folder/run.py" <<'P'
import io
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from litdata import StreamingDataset
from litdata.streaming import Cache
from PIL import Image
from streaming import LocalDataset, MDSWriter

folder = Path(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
colours = Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC)


def opened(kind, image):
    """As a program has it that reads files."""
    file = io.BytesIO()
    image.save(file, kind)
    return Image.open(file)


def by_streaming(name, image, column):
    shards = str(folder / f"mds {name} {column}")
    with MDSWriter(out=shards, columns={"image": column}) as writer:
        writer.write({"image": image})
    return LocalDataset(shards)[0]["image"]


def by_litdata(name, image):
    chunks = str(folder / f"litdata {name}")
    cache = Cache(chunks, chunk_size=1)
    cache[0] = {"image": image}
    cache.done()
    cache.merge()
    return StreamingDataset(chunks)[0]["image"]


def state(stored, image):
    after, before = np.asarray(stored.convert("RGBA")), np.asarray(image.convert("RGBA"))
    assert (stored.mode, stored.size) == (image.mode, image.size)
    return "right" if (after == before).all() else "black" if not after[..., :3].any() else "other"


images = {"GIF, P": opened("GIF", colours.quantize(16)), "PNG, P": opened("PNG", colours.quantize(16))}
images |= {f"PNG, {mode}": opened("PNG", colours.convert(mode)) for mode in ("L", "LA", "RGB", "RGBA")}
images["TIFF, CMYK"] = opened("TIFF", colours.convert("CMYK"))
print("mosaicml-streaming", version("mosaicml-streaming"), "litdata", version("litdata"), "pillow", version("pillow"))
seen = {}
for name, image in images.items():
    seen["pil", name] = state(by_streaming(name, image, "pil"), image)
    seen["litdata", name] = state(by_litdata(name, image), image)
    print(f"{name}: mosaicml-streaming's pil {seen['pil', name]}, litdata {seen['litdata', name]}")
    if name.startswith("PNG"):
        assert state(by_streaming(name, image, "png"), image) == "right"
expected = {key: "black" if key[1].endswith(" P") else "right" for key in seen}
sys.exit(0 if seen == expected else "changed")
P
"$folder/venv/bin/python" "$folder/run.py" "$folder"
