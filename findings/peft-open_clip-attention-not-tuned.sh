#!/usr/bin/env bash
# peft 0.21.2 on a ViT of open_clip 3.3.0: LoRA with target_modules="all-linear" tunes nothing of the attention.
#
# "all-linear" names every linear layer, and of each block's attention it takes `out_proj`. open_clip's attention is
# torch.nn.MultiheadAttention, which uses the weight of that layer without calling it, so the adapter beside it is never asked: no
# gradient, `lora_B` zero for ever. Queries, keys and values are one plain parameter and get no adapter at all. The adapters that do
# nothing are counted as trainable, and nothing is raised or logged. Naming "out_proj" among others does the same. Of a timm
# 1.0.31 ViT "all-linear" tunes all of it; of open_clip's does it with "attn", the whole attention, as target.
#
# `pixlake tune --trainable lora:R` takes the attention as a whole: docs/tune.md.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    peft==0.21.2 open-clip-torch==3.3.0 timm==1.0.31 torch==2.15.0 torchvision==0.29.2
"$folder/venv/bin/python" - <<'P'
import sys

import open_clip
import peft
import timm
import torch
from open_clip.transformer import VisionTransformer


def of_open_clip():
    return VisionTransformer(image_size=32, patch_size=16, width=64, layers=2, heads=4, mlp_ratio=2.0, output_dim=32)


def of_timm():
    sizes = dict(img_size=32, patch_size=16, embed_dim=64, depth=2, num_heads=4, mlp_ratio=2.0, num_classes=32)
    return timm.create_model("vit_small_patch16_224", **sizes)


def tuned(network, target):
    """Adapters after ten steps: (those of the attention that have changed, all of it, parameters counted as trainable)."""
    torch.manual_seed(0)
    model = peft.get_peft_model(network(), peft.LoraConfig(r=4, target_modules=target))
    trainable = [each for each in model.parameters() if each.requires_grad]
    adam = torch.optim.AdamW(trainable, lr=0.01)
    images, wanted = torch.randn(16, 3, 32, 32), torch.randn(16, 32)
    for _ in range(10):
        adam.zero_grad()
        torch.nn.functional.mse_loss(model(images), wanted).backward()
        adam.step()
    # Each adapter begins with lora_B = 0.
    made = {name: bool(each.abs().max() > 0) for name, each in model.named_parameters() if "lora_B" in name}
    of_attention = [changed for name, changed in made.items() if ".attn." in name]
    return sum(of_attention), len(of_attention), sum(each.numel() for each in trainable)


print("peft", peft.__version__, "open_clip", open_clip.__version__, "timm", timm.__version__, "torch", torch.__version__)
seen = {}
for name, network, target in (
    ("open_clip", of_open_clip, "all-linear"),
    ("open_clip", of_open_clip, ["out_proj", "c_fc", "c_proj"]),
    ("open_clip", of_open_clip, ["attn", "c_fc", "c_proj"]),
    ("timm", of_timm, "all-linear"),
):
    changed, there, counted = tuned(network, target)
    seen[name, str(target)] = changed, there
    print(f"{name}, {target}: {changed} of {there} adapters of the attention have learnt; {counted} trainable parameters")
wanted = {
    ("open_clip", "all-linear"): (0, 2),
    ("open_clip", "['out_proj', 'c_fc', 'c_proj']"): (0, 2),
    ("open_clip", "['attn', 'c_fc', 'c_proj']"): (4, 4),
    ("timm", "all-linear"): (4, 4),
}
sys.exit(0 if seen == wanted else "changed")
P
