#!/usr/bin/env bash
# Pillow 13.0.0: an uncompressed grey TIFF that says PlanarConfiguration 2 comes out as its own negative, or as noise.
#
# TIFF 6.0 calls the field irrelevant where a pixel has one sample; a program that stores planes may write 2
# for grey too. Pillow then forgets how the samples are packed: white-is-zero is not turned round (8 bits and 1 bit),
# and 4 bits are read as 8. Nothing is raised, and a negative photograph embeds like any other. With PlanarConfiguration 1, or
# with any compression, Pillow is right. (libvips 8.18.7 is right at 8 bits, and not at 1 and 4.)
#
# Pixlake reads such files through libtiff: operators/pixels/tiff/readers.py.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'P'
import struct
import sys

import numpy as np
import PIL
from PIL import Image


def tiff(packed, bits, photometric, planar):
    """Sixteen pixels in one row: header, strip, directory (TIFF 6.0, little-endian, no compression)."""
    packed += b"\0" * (len(packed) % 2)
    tags = [(256, 16), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, 1)]
    tags += [(279, 16 * bits // 8), (284, planar)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    return struct.pack("<2sHI", b"II", 42, 8 + len(packed)) + packed + directory + bytes(4)


levels = np.arange(16, dtype=np.uint8)
kinds = {
    "8 bits, white is zero": (levels * 17, 8, 0, 255 - levels * 17),
    "1 bit, white is zero": (np.packbits(levels % 2), 1, 0, 255 - levels % 2 * 255),
    "4 bits, black is zero": ((levels[::2] << 4 | levels[1::2]), 4, 1, levels * 17),
}
print("pillow", PIL.__version__)
seen = {}
for name, (packed, bits, photometric, right) in kinds.items():
    for planar in (1, 2):
        path = f"{sys.argv[1]}/{bits}-{planar}.tif"
        with open(path, "wb") as file:
            file.write(tiff(packed.tobytes(), bits, photometric, planar))
        by_pillow = np.asarray(Image.open(path).convert("L")).ravel()
        seen[name, planar] = bool((by_pillow == right).all())
        print(f"{name}, PlanarConfiguration {planar}: {by_pillow.tolist()}, right: {seen[name, planar]}")
expected = {(name, planar): planar == 1 for name in kinds for planar in (1, 2)}
sys.exit(0 if seen == expected else "changed")
P
