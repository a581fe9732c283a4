#!/usr/bin/env bash
# OpenCV 5.0.0 and torchvision 0.29.2: read as grey, a colour PNG comes out brighter where it says that it is sRGB.
#
# The chunk sRGB (or gAMA 1/2.2) says what every reader takes for granted, and the colours that both libraries read are the same
# with it and without. As grey (IMREAD_GRAYSCALE, ImageReadMode.GRAY) they have libpng mix the channels: with the chunk it mixes
# light, without it the stored numbers, as all of JPEG, WebP and Pillow do. Pure red is 76 without the chunk and 147 with it, blue
# 29 and 95; only neutral pixels stay. Nothing is raised. One picture saved by two programs is two pictures: hashes that begin
# with a grey image find no copy, and a model trained on grey JPEGs sees screenshots and exports up to 70 levels too bright.
# OpenCV's manual says that the codec's grey "may differ" from its own; converting the colours afterwards (cvtColor,
# rgb_to_grayscale) is right for every file.
#
# Pixlake decodes colours: docs/images.md, Colours.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    opencv-python-headless==5.0.0.93 torch==2.15.0 torchvision==0.29.2 pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'P'
import io
import struct
import sys
import zlib
from importlib.metadata import version

import cv2
import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.functional import rgb_to_grayscale

COLOURS = np.array([[(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 30, 90)]], np.uint8)
CHUNKS = {"no chunk": (), "sRGB": (b"sRGB\0",), "gAMA 1/2.2": (b"gAMA" + struct.pack(">I", 45455),)}


def png(chunks):
    header = b"IHDR" + struct.pack(">IIBBBBB", 4, 1, 8, 2, 0, 0, 0)
    parts = (header, *chunks, b"IDAT" + zlib.compress(b"\0" + COLOURS.tobytes()), b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts
    )


print("opencv", version("opencv-python-headless"), "torchvision", torchvision.__version__, "pillow", PIL.__version__)
right = (COLOURS @ np.array([0.299, 0.587, 0.114])).ravel()
off = {}
for name, chunks in CHUNKS.items():
    data = png(chunks)
    array = np.frombuffer(data, np.uint8)
    tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    colours = decode_image(tensor, ImageReadMode.RGB)
    by_opencv = cv2.imdecode(array, cv2.IMREAD_COLOR)
    assert (by_opencv[..., ::-1] == COLOURS).all() and (colours.permute(1, 2, 0).numpy() == COLOURS).all()
    grey = {
        "pillow": np.asarray(Image.open(io.BytesIO(data)).convert("L")).ravel(),
        "opencv, colours then grey": cv2.cvtColor(by_opencv, cv2.COLOR_BGR2GRAY).ravel(),
        "torchvision, colours then grey": rgb_to_grayscale(colours).numpy().ravel(),
        "opencv": cv2.imdecode(array, cv2.IMREAD_GRAYSCALE).ravel(),
        "torchvision": decode_image(tensor, ImageReadMode.GRAY).numpy().ravel(),
    }
    for reader, levels in grey.items():
        off[name, reader] = float(np.abs(levels - right).max())
        print(f"{name}: {reader} {levels.tolist()}, at most {off[name, reader]:.0f} from 0.299 R + 0.587 G + 0.114 B")
wrong = {key for key, levels in off.items() if levels > 60}
expected = {(name, reader) for name in ("sRGB", "gAMA 1/2.2") for reader in ("opencv", "torchvision")}
sys.exit(0 if wrong == expected and max(off[key] for key in off.keys() - wrong) < 2 else "changed")
P
