#!/usr/bin/env bash
# Pillow 13.0.0 (LittleCMS 2.19): the darks of a greyscale image with a linear profile come out up to 10 levels too dark.
#
# By ICC.1 the sample is raised to the profile's gamma, 1 here, and by IEC 61966-2-1 that light is encoded as sRGB: level 2
# of 255 is 21.7. ImageCms gives 12 for mode L, and 22 for the very same numbers in three channels, or with NOOPTIMIZE:
# LittleCMS puts a coarse grid in place of the curve where there is one channel. HIGHRESPRECALC, whose name promises a finer
# one, is still 7 off. Linear grey comes from microscopes, scanners and 3D renderers, and is mostly dark.
#
# Pixlake converts the 256 levels without the grid and looks them up, which is 40 times as fast: docs/images.md, Colours.
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
from PIL import Image, ImageCms, features


def linear(space, curves, colorants):
    """A display profile of ICC.1:2001 with gamma 1."""
    white = struct.pack(">3i", 63190, 65536, 54061)
    tags = {b"wtpt": b"XYZ \0\0\0\0" + white}
    tags |= {name: b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in xyz)) for name, xyz in colorants}
    tags |= dict.fromkeys(curves, b"curv" + struct.pack(">II", 0, 0))
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value
    head = struct.pack(">I4xI4s4s4s", start + len(body), 0x02400000, b"mntr", space, b"XYZ ") + bytes(12) + b"acsp"
    file = (head + bytes(28) + white).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
    return ImageCms.ImageCmsProfile(io.BytesIO(file))


SRGB_D50 = ((b"rXYZ", (0.4361, 0.2225, 0.0139)), (b"gXYZ", (0.3851, 0.7169, 0.0971)), (b"bXYZ", (0.1431, 0.0606, 0.7141)))
grey, colour = linear(b"GRAY", (b"kTRC",), ()), linear(b"RGB ", (b"rTRC", b"gTRC", b"bTRC"), SRGB_D50)
ramp = Image.frombytes("L", (256, 1), bytes(range(256)))
light = [level / 255 for level in range(256)]
right = [255 * (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055) for v in light]


def furthest(mode, profile, flags):
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", flags=flags)
    got = ImageCms.applyTransform(ramp.convert(mode), transform).getchannel("G").tobytes()
    off = max(abs(a - b) for a, b in zip(got, right))
    print(f"{mode:3} {flags!s:35} levels 1 to 4: {list(got[1:5])}, at most {off:.1f} off")
    return off


print("pillow", PIL.__version__, "littlecms", features.version("littlecms2"))
print("right:", [round(v, 1) for v in right[1:5]])
flags = ImageCms.Flags
wrong = furthest("L", grey, flags.NONE), furthest("L", grey, flags.HIGHRESPRECALC)
fine = furthest("L", grey, flags.NOOPTIMIZE), furthest("RGB", colour, flags.NONE)
sys.exit(0 if wrong[0] > 9 and wrong[1] > 6 and max(fine) < 1 else "changed")
P
