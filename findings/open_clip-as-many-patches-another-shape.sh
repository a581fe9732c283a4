#!/usr/bin/env bash
# open_clip 3.3.0: a ViT built for images of another shape with as many patches keeps its positions as they are, row by row
# into rows of another length.
#
# `create_model(…, force_image_size=…)` promises other sizes: positions are resampled from the trained grid to the new one. Of
# 64 x 64 pixels in patches of 16 the grid is 4 x 4. At 32 x 128 it is 2 x 8, as many: `resize_pos_embed` compares the counts,
# returns early, and the last two of each row of eight get the positions of another row. Panoramas, pages and film strips are
# made so. Nothing is raised or logged. Seen: at 96 x 96 (6 x 6) the positions are resampled; at 32 x 128 they are the file's
# own, and timm 1.0.31, which keeps the old shape, gives others.
#
# Pixlake resamples from the grid that the positions were learnt in: docs/models.md, preprocessing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    open-clip-torch==3.3.0 timm==1.0.31 torch==2.15.0 torchvision==0.29.2
"$folder/venv/bin/python" - "$folder" <<'P'
import json
import sys

import open_clip
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

config = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 64, "patch_size": 16, "layers": 1, "width": 64, "head_width": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 100, "width": 16, "heads": 2, "layers": 1},
}
torch.manual_seed(0)
own = open_clip.CLIP(**config)
save_file(own.state_dict(), f"{sys.argv[1]}/open_clip_model.safetensors")
with open(f"{sys.argv[1]}/open_clip_config.json", "w") as file:
    json.dump({"model_cfg": config, "preprocess_cfg": {}}, file)
learnt = own.visual.positional_embedding


def built(size):
    return open_clip.create_model(f"local-dir:{sys.argv[1]}", force_image_size=size).visual


print("open_clip", open_clip.__version__, "timm", timm.__version__)
seen = {}
for size in ((96, 96), (32, 128)):
    visual = built(size)
    found, grid = visual.positional_embedding, visual.grid_size
    resampled = resample_abs_pos_embed(learnt[None], list(grid), [4, 4])[0]
    as_trained = found.shape == learnt.shape and torch.equal(found, learnt)
    seen[size] = as_trained, torch.allclose(found, resampled, atol=1e-5)
    print(f"{size}: grid {grid}, positions as in the file: {seen[size][0]}, resampled: {seen[size][1]}")
sys.exit(0 if seen == {(96, 96): (False, True), (32, 128): (True, False)} else "changed")
P
