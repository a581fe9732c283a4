#!/usr/bin/env bash
# Pillow 13.0.0: around a first GIF frame that is smaller than its canvas stands colour 0 of the palette.
#
# By the GIF specification what no frame covers has the background colour, whose index the header gives; browsers leave it
# transparent. Pillow does neither: with background index 3 (white) the surroundings are colour 0 (red here), whatever that
# is, and `info["background"]` says 3. With a transparent index the same file is transparent there. Such files are common
# among animations, and what is embedded is then mostly a colour that nobody sees.
#
# Pixlake takes what no frame paints for transparent, so white: docs/images.md, Formats.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pillow==13.0.0
"$folder/venv/bin/python" - <<'P'
import io
import struct
import sys

import PIL
from PIL import Image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def gif(background, transparent):
    """8 x 8 pixels, with a frame of 1 x 1 in green at (4, 4)."""
    palette = bytes(sum((RED, GREEN, BLUE, WHITE), ()))
    canvas = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x81, background, 0) + palette
    control = b"" if transparent is None else b"!\xf9\4\1\0\0" + bytes([transparent]) + b"\0"
    clear, green, end = 4, 1, 5  # codes of three bits, from the lowest
    codes = (clear | green << 3 | end << 6).to_bytes(2, "little")
    return canvas + control + b"," + struct.pack("<HHHHB", 4, 4, 1, 1, 0) + b"\2\2" + codes + b"\0;"


print("pillow", PIL.__version__)
seen = {}
for background in (0, 2, 3):
    image = Image.open(io.BytesIO(gif(background, None)))
    pixels = image.convert("RGBA")
    seen[background] = pixels.getpixel((0, 0))
    assert (image.info["background"], pixels.getpixel((4, 4))) == (background, (*GREEN, 255))
    print(f"background index {background}: around the frame {seen[background]}")
alpha = Image.open(io.BytesIO(gif(3, 2))).convert("RGBA").getpixel((0, 0))[3]
print(f"the same with a transparent index: alpha {alpha} around the frame")
sys.exit(0 if set(seen.values()) == {(*RED, 255)} and alpha == 0 else "changed")
P
