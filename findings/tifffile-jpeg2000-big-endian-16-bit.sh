#!/usr/bin/env bash
# tifffile 2026.3.3: a big-endian TIFF of 16 bits and JPEG 2000 comes back as noise, from tifffile itself too.
#
# byteorder=">" is for programs that want big-endian files, and a codestream of JPEG 2000 has one byte order of its own,
# whatever is around it. tifffile turns the samples round before it compresses them, the encoder takes them as they
# come, and nothing is turned back: 0x0102 is stored as 0x0201. Nothing is raised. Little-endian files are right.
#
# Pixlake reads what the codestream says; a file that was written so holds the wrong samples, and must be made again.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'P'
import sys

import imagecodecs
import numpy as np
import tifffile

picture = (np.arange(64 * 64).reshape(64, 64) * 13).astype(np.uint16)
print("tifffile", tifffile.__version__, "imagecodecs", imagecodecs.__version__)
seen = {}
for order in "<>":
    path = f"{sys.argv[1]}/picture.tif"
    tifffile.imwrite(path, picture, compression="jpeg2000", compressionargs={"level": 0}, byteorder=order, metadata=None)
    with tifffile.TiffFile(path) as file, open(path, "rb") as raw:
        page = file.pages[0]
        raw.seek(page.dataoffsets[0])
        stored = imagecodecs.jpeg2k_decode(raw.read(page.databytecounts[0]))
        seen[order] = [bool((page.asarray() == picture).all()), bool((stored == picture).all())]
    turned = bool((stored.byteswap() == picture).all())
    print(f"byteorder {order}: read back right and stored right: {seen[order]}, stored with bytes swapped: {turned}")
sys.exit(0 if seen == {"<": [True, True], ">": [False, False]} and turned else "changed")
P
