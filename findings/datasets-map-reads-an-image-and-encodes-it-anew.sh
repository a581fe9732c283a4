#!/usr/bin/env bash
# datasets 5.2.0: a function in `map` that only looks at an image has it encoded anew, at Pillow's default quality.
#
# `map` adds columns and keeps the others. Where the function touches the image of a row, if only for its width, the decoded
# picture takes the place of the stored bytes, and is saved in its own format with no setting: JPEG at quality 75 and 4:2:0,
# lossless WebP at a lossy 80, AVIF at 75; a JPEG's colour profile is gone. `{"width": row["image"].width}` is enough, with
# `batched=True` too. Nothing is raised or logged; the column looks untouched, and each pixel of the data set has moved. Seen: of
# a JPEG of quality 95 up to 77 levels, a third of the bytes, no profile. Rows whose function leaves the image alone, PNG,
# `input_columns="image"`, and data sets of paths keep their bytes. Parquet, so what lies on the hub, holds bytes.
#
# Pixlake reads the bytes that are there: docs/manifests.md, images in Parquet.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check datasets==5.2.0 pillow==13.0.0 numpy==2.4.6
HF_HOME="$folder/cache" HF_DATASETS_DISABLE_PROGRESS_BARS=1 "$folder/venv/bin/python" -W error::UserWarning - <<'P'
import io
import sys

import datasets
import numpy as np
import PIL
from datasets import Dataset, Features, Image
from PIL import Image as Pillow
from PIL import ImageCms

noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
picture = Pillow.fromarray(noise).resize((128, 96), Pillow.Resampling.BICUBIC)
profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def stored(table):
    return table.cast_column("image", Image(decode=False))[0]["image"]["bytes"]


def pixels(data):
    return np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB")).astype(int)


FORMATS = {
    "JPEG": {"quality": 95, "subsampling": 0, "icc_profile": profile},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95},
    "PNG": {"icc_profile": profile},
}
FUNCTIONS = {
    "leaves it alone": (lambda row: {"number": 1}, {}),
    "reads its width": (lambda row: {"width": row["image"].width}, {}),
    "reads a batch of widths": (lambda rows: {"width": [image.width for image in rows["image"]]}, {"batched": True}),
    "is given it by input_columns": (lambda image: {"width": image.width}, {"input_columns": "image"}),
}
print("datasets", datasets.__version__, "pillow", PIL.__version__)
changed, levels, kept_profile = set(), {}, {}
for kind, options in FORMATS.items():
    file = io.BytesIO()
    picture.save(file, kind, **options)
    before = file.getvalue()
    table = Dataset.from_dict({"image": [{"bytes": before, "path": None}]}, features=Features({"image": Image()}))
    for name, (function, how) in FUNCTIONS.items():
        after = stored(table.map(function, **how))
        off = int(np.abs(pixels(after) - pixels(before)).max())
        has_profile = "icc_profile" in Pillow.open(io.BytesIO(after)).info
        sizes = f"{len(before)} bytes, then {len(after)}"
        print(f"{kind}, the function {name}: {sizes}; off by up to {off} levels; profile: {has_profile}")
        if after != before:
            changed.add((kind, name))
            levels[kind, name], kept_profile[kind, name] = off, has_profile
looked = {(kind, name) for kind in ("JPEG", "WEBP", "AVIF") for name in ("reads its width", "reads a batch of widths")}
so = changed == looked and min(levels.values()) > 10 and not any(kept_profile.values())
sys.exit(0 if so else "changed")
P
