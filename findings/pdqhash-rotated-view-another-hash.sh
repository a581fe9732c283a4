#!/usr/bin/env bash
# pdqhash 0.2.8: a picture that numpy has turned by a quarter gets a hash that has nothing to do with it, at quality 100.
#
# PDQ finds copies: its authors take 31 of 256 bits for a match, and unrelated pictures are 128 apart. `np.rot90`, a transpose and
# `np.asfortranarray` give arrays whose pixels do not lie row by row; Pillow reads them as what they are. pdqhash takes pixels in
# the order in which they lie in memory, as if that were rows: of a photograph stripes, of a square one the picture before it was
# turned, or its mirror image. Nothing is raised, and the quality, which should tell bad hashes, is 100. Seen: 102 to 136 bits
# between such an array and its own copy by `np.ascontiguousarray`. Mirrored arrays, and BGR seen as RGB, are right. Who turns
# photographs upright by numpy before hashing, or looks for turned copies so, finds none.
#
# Pixlake does not use PDQ: docs/duplicates.md.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pdqhash==0.2.8 pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" -W error - <<'P'
import sys
from importlib.metadata import version

import numpy as np
import pdqhash
from PIL import Image

noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
photograph = np.asarray(Image.fromarray(noise).resize((512, 384), Image.Resampling.BICUBIC))
square = np.ascontiguousarray(photograph[:, :384])
arrays = {
    "mirrored, [:, ::-1]": photograph[:, ::-1],
    "the other order of channels, [..., ::-1]": photograph[..., ::-1],
    "upside down, np.rot90 twice": np.rot90(photograph, 2),
    "a quarter, np.rot90": np.rot90(photograph),
    "three quarters, np.rot90": np.rot90(photograph, 3),
    "in Fortran order": np.asfortranarray(photograph),
    "square, a quarter, np.rot90": np.rot90(square),
}
print("pdqhash", version("pdqhash"))
wrong = set()
for name, array in arrays.items():
    copy = np.ascontiguousarray(array)
    assert (array == copy).all() and (np.asarray(Image.fromarray(array)) == copy).all()
    (by_array, quality), (by_copy, _) = pdqhash.compute(array), pdqhash.compute(copy)
    bits = int((by_array != by_copy).sum())
    print(f"{name}: {bits} of 256 bits from the hash of the same pixels, copied row by row; quality {quality}")
    if bits > 31:
        wrong.add(name)
        assert quality == 100
    else:
        assert bits == 0
expected = {"a quarter, np.rot90", "three quarters, np.rot90", "in Fortran order", "square, a quarter, np.rot90"}
sys.exit(0 if wrong == expected else "changed")
P
