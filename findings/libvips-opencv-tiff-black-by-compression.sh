#!/usr/bin/env bash
# libvips 8.18.7 and OpenCV 5.0.0, as they are on PyPI: a whole TIFF whose compression they lack is a black picture.
#
# Both read TIFF through a libtiff that was built without some of its compressions: that of pyvips-binary has no Zstandard and no
# LZMA, neither has JPEG 2000, JPEG XL or PNG. Microscopes, GDAL and tifffile write them. A good guess is an error; what comes is a
# picture of the right size and type, black in every pixel. libvips takes it for a file that is cut short, of which it gives what it
# can: `thumbnail` and `write_to_file` make black JPEGs, and nothing is printed, unless one asks for `fail_on="error"`. OpenCV
# prints a line that names no Python call, and returns the array. (Of Zstandard and LZMA it returns None, and Pillow raises for the
# others.) All such files are one picture, duplicates of each other, with a vector like any other.
#
# Pixlake reads all of these with its extra `tiff`, and refuses what it cannot read: docs/images.md, What is read.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pyvips==3.2.0 pyvips-binary==8.18.7 \
    opencv-python-headless==5.0.0.93 tifffile==2026.3.3 imagecodecs==2026.3.6 pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'P'
import sys

import cv2
import numpy as np
import pyvips
import tifffile
from PIL import Image

noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
picture = np.asarray(Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC))


def by_thumbnail(path):
    pyvips.Image.thumbnail(path, 64).write_to_file("thumbnail.png")
    return np.asarray(Image.open("thumbnail.png"))


READERS = {
    "libvips": lambda path: pyvips.Image.new_from_file(path).numpy(),
    "libvips thumbnail": by_thumbnail,
    "libvips fail_on": lambda path: pyvips.Image.new_from_file(path, fail_on="error").numpy(),
    "OpenCV": lambda path: cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB),
    "tifffile": tifffile.imread,
    "Pillow": lambda path: np.asarray(Image.open(path)),
}


def state(read, path):
    try:
        pixels = read(path)
    except (pyvips.Error, cv2.error, OSError):
        return "error"
    assert pixels.shape == picture.shape
    return "right" if (pixels == picture).all() else "black" if not pixels.any() else "other"


version = f"{pyvips.version(0)}.{pyvips.version(1)}.{pyvips.version(2)}"
print("libvips", version, "OpenCV", cv2.__version__, "tifffile", tifffile.__version__, "Pillow", Image.__version__)
seen = {}
for compression in ("lzw", "zstd", "lzma", "jpeg2000", "jpegxl", "png"):
    arguments = {"level": 0, "reversible": True} if compression == "jpeg2000" else {}
    arguments = {"lossless": True} if compression == "jpegxl" else arguments
    name = f"{compression}.tif"
    tifffile.imwrite(name, picture, photometric="rgb", compression=compression, compressionargs=arguments, metadata=None)
    seen[compression] = {reader: state(read, name) for reader, read in READERS.items()}
    print(f"{compression}: {seen[compression]}")
vips = [{seen[kind][reader] for kind in seen if kind != "lzw"} for reader in ("libvips", "libvips thumbnail", "libvips fail_on")]
opencv = [seen[kind]["OpenCV"] for kind in ("zstd", "lzma", "jpeg2000", "jpegxl", "png")]
so = vips == [{"black"}, {"black"}, {"error"}] and opencv == ["error", "error", "black", "black", "black"]
right = set(seen["lzw"].values()) == {"right"} and {row["tifffile"] for row in seen.values()} == {"right"}
sys.exit(0 if so and right else "changed")
P
