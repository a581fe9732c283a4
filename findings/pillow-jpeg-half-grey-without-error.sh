#!/usr/bin/env bash
# Pillow 13.0.0: whether a JPEG counts as truncated goes by its last marker, not by its picture.
#
# With LOAD_TRUNCATED_IMAGES at its default of False, a file that ends early raises OSError, and a good guess is that what
# does not raise is whole. But a file of which half the picture is missing and that ends in the marker FFD9 (one that was cut
# off and closed again) loads without an error or a warning, the rest of it grey, and `verify()` says nothing. The other way
# round, a file with every block of its picture that lacks only FFD9 raises "image file is truncated".
#
# Pixlake asks libjpeg-turbo whether the blocks are there: docs/images.md, Damage.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" -W error - <<'P'
import io
import sys

import numpy as np
import PIL
from PIL import Image, ImageFile

assert not ImageFile.LOAD_TRUNCATED_IMAGES
END = b"\xff\xd9"
noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
out = io.BytesIO()
Image.fromarray(noise).save(out, "JPEG", quality=90)
whole = out.getvalue()
assert whole.endswith(END)
right = np.asarray(Image.open(io.BytesIO(whole)))


def outcome(data):
    """The share of rows that are as in the whole file; None where Pillow raises."""
    try:
        Image.open(io.BytesIO(data)).verify()
        pixels = np.asarray(Image.open(io.BytesIO(data)))
    except OSError as error:
        print("   ", error)
        return None
    return (pixels == right).all(axis=(1, 2)).mean()


print("pillow", PIL.__version__)
seen = []
for name, data in (
    ("the whole file", whole),
    ("every block, without the last marker", whole[:-2]),
    ("half of the file", whole[: len(whole) // 2]),
    ("half of the file and the last marker", whole[: len(whole) // 2] + END),
):
    print(f"{name}:")
    seen.append(outcome(data))
    print("    raises" if seen[-1] is None else f"    loads, {seen[-1]:.0%} of the rows are right")
full, unmarked, half, closed = seen
as_seen = full == 1 and unmarked is None and half is None and closed is not None and closed < 0.6
sys.exit(0 if as_seen else "changed")
P
