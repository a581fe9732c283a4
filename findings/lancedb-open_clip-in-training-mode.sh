#!/usr/bin/env bash
# lancedb 0.40.0: its "open-clip" embedding function leaves the network in training mode; one image gets another vector each time.
#
# open_clip 3.3.0 gives a network back as one trains it, and says so in its README; lancedb's registry never calls `eval()`.
# ViT-B-32, its default, has no layer that minds. ViTamin and ConvNeXt have: in training their blocks are dropped at random, so
# the vectors of a table, and the query that should find them, are noise around the right ones. Seen with ViTamin-S: the same
# image twice 0.94 to 0.96 alike, in eval mode 1.0, and two other images 0.98. RN50 normalises each image by its own statistics
# in place of those it learnt: 0.95 to 0.97 to the vectors that plain open_clip gives in eval mode. Nothing is raised or logged.
# Weights here are random ones, RN50's statistics learnt on images like those that are embedded.
#
# Pixlake's towers run in eval mode, and are held to a cosine of 0.9999 to plain open_clip's.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    lancedb==0.40.0 open-clip-torch==3.3.0 torch==2.15.0 torchvision==0.29.2 timm==1.0.31
"$folder/venv/bin/python" - "$folder" 2> "$folder/log" <<'P' || { cat "$folder/log"; exit 1; }
import sys

import lancedb
import numpy as np
import open_clip
import torch
from lancedb.embeddings import get_registry
from PIL import Image
from safetensors.torch import save_file

random = np.random.default_rng(0)


def picture():
    return Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((300, 300), Image.BICUBIC)


images = [picture() for _ in range(3)]
print("lancedb", lancedb.__version__, "open_clip", open_clip.__version__)
seen = {}
for name in ("ViT-B-32", "ViTamin-S", "RN50"):
    torch.manual_seed(0)
    plain, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=None)
    if name == "RN50":
        norms = [each for each in plain.visual.modules() if isinstance(each, torch.nn.BatchNorm2d)]
        for each in norms:
            each.momentum = None  # the mean over all batches
        with torch.no_grad():
            for _ in range(3):
                plain.encode_image(torch.stack([preprocess(picture()) for _ in range(16)]))
    file = f"{sys.argv[1]}/{name}.safetensors"
    save_file({key: tensor.contiguous().clone() for key, tensor in plain.state_dict().items()}, file)
    plain.eval()
    theirs = get_registry().get("open-clip").create(name=name, pretrained=file)
    with torch.no_grad():
        right = [torch.nn.functional.normalize(plain.encode_image(preprocess(each)[None]), dim=-1)[0] for each in images]
    once, again = ([theirs.generate_image_embedding(each) for each in images] for _ in range(2))
    to_plain = [float(one @ two.numpy()) for one, two in zip(once, right, strict=True)]
    twice = [float(one @ two) for one, two in zip(once, again, strict=True)]
    print(f"{name}: cosine to eval mode {np.round(to_plain, 4)}, of the same image twice {np.round(twice, 4)},", end=" ")
    print(f"of two images in eval mode {float(right[0] @ right[1]):.4f}")
    seen[name] = min(to_plain) > 0.9999, min(twice) > 0.9999
wanted = {"ViT-B-32": (True, True), "ViTamin-S": (False, False), "RN50": (False, True)}
sys.exit(0 if seen == wanted else "changed")
P
