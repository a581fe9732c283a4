#!/usr/bin/env bash
# libvips 8.18.7: of a grey TIFF with alpha stored in planes, each row begins half a row after the one before.
#
# Grey and alpha with PlanarConfiguration 2 (valid TIFF 6.0; tifffile writes it for an array of shape (2, height, width))
# come out with row 0 right and row 1 beginning in the middle of row 0: the picture is stretched to twice its height, and
# its lower half is lost. Nothing is raised, with 8 bits or 16. The same samples side by side (PlanarConfiguration 1) and
# three planes of RGB are right. Who makes thumbnails with libvips before embedding embeds another picture.
#
# Pixlake does not use libvips; such files go through tifffile: operators/pixels/tiff/readers.py.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    numpy==2.4.6 pyvips==3.2.0 pyvips-binary==8.18.7 tifffile==2026.3.3
"$folder/venv/bin/python" - "$folder" <<'P'
import sys

import numpy as np
import pyvips
import tifffile

rows, columns = np.mgrid[:4, :6]
samples = np.stack([10 * rows + columns, 100 + 10 * rows + columns], axis=-1).astype(np.uint8)
print("libvips", ".".join(str(pyvips.base.version(part)) for part in range(3)), "tifffile", tifffile.__version__)
seen = {}
for name, kind in (("contig", np.uint8), ("separate", np.uint8), ("separate", np.uint16)):
    path = f"{sys.argv[1]}/{name}-{kind.__name__}.tif"
    stored = samples.astype(kind) if name == "contig" else np.moveaxis(samples.astype(kind), -1, 0)
    tifffile.imwrite(path, stored, photometric="minisblack", planarconfig=name, extrasamples=["unassalpha"])
    read = pyvips.Image.new_from_file(path).numpy()
    early = samples[..., 0].ravel()[: 4 * 6 // 2 + 3]  # rows that begin every 3 samples and are 6 long
    stretched = np.stack([early[3 * row : 3 * row + 6] for row in range(4)])
    right, half = (read == samples).all(), (read[..., 0] == stretched).all()
    seen[name, kind.__name__] = bool(right), bool(half)
    print(f"{name}, {kind.__name__}: grey {read[..., 0].tolist()}, right: {right}, rows half a row early: {half}")
expected = {("contig", "uint8"): (True, False)} | dict.fromkeys([("separate", "uint8"), ("separate", "uint16")], (False, True))
sys.exit(0 if seen == expected else f"changed: expected {expected}")
P
