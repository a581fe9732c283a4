#!/usr/bin/env bash
# cleanvision 0.3.7: pictures that share no colour, or not even their shape, are "exact duplicates" of each other.
#
# It hashes the array that numpy makes of a Pillow image, and nothing else. Of a palette image (GIF, most small PNGs) the array is
# the indices without the colours: one map, chart, flag or sprite in two colour schemes is one image, as are all of one colour in
# each. Rows and columns are not hashed either: a blank page of 200 x 300 is a duplicate of one of 300 x 200. Nothing is raised,
# and no score says that it is less than exact; exact duplicates are what people delete without looking. Seen: two charts that are
# at least 250 levels apart in every pixel, and a red, a green and a blue square in one set. Saved as RGB these are told apart,
# the pages are not.
#
# Pixlake's exact duplicates have the same bytes (sha256): docs/duplicates.md.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check cleanvision==0.3.7 pillow==13.0.0 numpy==2.4.6
cat > "$folder/run.py" <<'P'
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from cleanvision import Imagelab
from PIL import Image

SCHEMES = {
    "chart-day": [(255, 255, 255), (255, 0, 0), (0, 160, 0), (0, 0, 255)],
    "chart-night": [(0, 0, 0), (90, 250, 250), (250, 120, 250), (240, 240, 0)],
    "square-red": [(255, 0, 0)],
    "square-green": [(0, 255, 0)],
    "square-blue": [(0, 0, 255)],
}
stripes = (np.arange(64)[:, None] // 4 + np.arange(64) // 8).astype(np.uint8) % 4
folder = Path(sys.argv[1])
pictures = {}
for name, colours in SCHEMES.items():
    indices = stripes if name.startswith("chart") else np.zeros((64, 64), np.uint8)
    pictures[name] = Image.fromarray(indices).convert("P")
    pictures[name].putpalette(np.array(colours, np.uint8).tobytes())
pictures["page-upright"] = Image.new("L", (200, 300), 240)
pictures["page-lying"] = Image.new("L", (300, 200), 240)
for kind in ("as they are", "as RGB"):
    (folder / kind).mkdir()
    for name, picture in pictures.items():
        (picture if kind == "as they are" else picture.convert("RGB")).save(folder / kind / f"{name}.png")


def duplicates(kind):
    lab = Imagelab(data_path=str(folder / kind))
    lab.find_issues({"exact_duplicates": {}}, n_jobs=1, verbose=False)
    return {tuple(sorted(Path(path).stem for path in paths)) for paths in lab.info["exact_duplicates"]["sets"]}


if __name__ == "__main__":
    print("cleanvision", version("cleanvision"), "pillow", version("pillow"))
    seen = {kind: duplicates(kind) for kind in ("as they are", "as RGB")}
    for kind, sets in seen.items():
        print(f"{kind}: exact duplicates {sorted(sets)}")
    day, night = (np.asarray(pictures[name].convert("RGB")).astype(int) for name in ("chart-day", "chart-night"))
    print(f"day and night: at least {abs(day - night).max(axis=2).min()} levels apart in every pixel")
    palettes = {("chart-day", "chart-night"), ("square-blue", "square-green", "square-red")}
    pages = {("page-lying", "page-upright")}
    sys.exit(0 if seen == {"as they are": palettes | pages, "as RGB": pages} else "changed")
P
"$folder/venv/bin/python" "$folder/run.py" "$folder"
