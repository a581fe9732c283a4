#!/usr/bin/env bash
# torch 2.15.0: an antialiased resize of floats to a width of 1 fills the column with its first value.
#
# `torch.nn.functional.interpolate(…, antialias=True)`, and torchvision's Resize of float images, on the CPU: of a ramp from 0 to
# 110 over 12 rows, 6 rows and one column are 7.1 six times over, for 7.1, 25, 45, 65, 85, 102.9. So it is with bilinear and
# bicubic, float32 and float64, up and down, wherever the width becomes (or stays) 1 and the height changes. Nothing is raised. The
# same numbers in channels_last, as uint8, without antialias, with a width of 2, or by Pillow are right. Strips, receipts and
# panoramas come to one column where the longer side is what is resized, and so do feature maps that are pooled to a column.
#
# Pixlake resizes uint8, and a ViT's positions channels last, which are right (tests/operators/pixels/test_libtorch.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.15.0 torchvision==0.29.2 pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'P'
import sys

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate
from torchvision.transforms import v2

print("torch", torch.__version__)
ramp = torch.arange(0, 120, 10, dtype=torch.float32)[:, None].expand(12, 4)
image = torch.stack([ramp, ramp + 50, ramp + 100])[None].contiguous()


def by_pillow(height, width, mode):
    bands = [Image.fromarray(band.numpy()).resize((width, height), mode) for band in image[0]]
    return np.stack([np.asarray(band) for band in bands])


def seen(name, resized, mode=Image.Resampling.BILINEAR):
    """Whether each row is as Pillow has it, and whether all rows are the first one."""
    right = by_pillow(*resized.shape[2:], mode)
    off = np.abs(resized[0].numpy().astype(float) - right).max()
    print(f"{name}: {np.round(resized[0, 0, :, 0].numpy(), 1).tolist()}, up to {off:.1f} from Pillow's")
    return off < 1, bool((resized == resized[:, :, :1]).all())


last = image.contiguous(memory_format=torch.channels_last)
wrong = [
    seen("bilinear", interpolate(image, (6, 1), mode="bilinear", antialias=True)),
    seen("bicubic", interpolate(image, (6, 1), mode="bicubic", antialias=True), Image.Resampling.BICUBIC),
    seen("float64", interpolate(image.double(), (6, 1), mode="bilinear", antialias=True)),
    seen("enlarged", interpolate(image, (24, 1), mode="bilinear", antialias=True)),
    seen("torchvision", v2.functional.resize(image, [6, 1], antialias=True)),
]
right = [
    seen("channels_last", interpolate(last, (6, 1), mode="bilinear", antialias=True)),
    seen("two columns", interpolate(image, (6, 2), mode="bilinear", antialias=True)),
    seen("uint8", interpolate(image.byte(), (6, 1), mode="bilinear", antialias=True)),
]
sys.exit(0 if wrong == [(False, True)] * 5 and right == [(True, False)] * 3 else "changed")
P
