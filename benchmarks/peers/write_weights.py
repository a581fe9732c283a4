"""`python write_weights.py FILE`: ViT-B/32 as open_clip makes it after `torch.manual_seed(0)`, as safetensors."""

import os
import sys

import open_clip
import torch
from safetensors.torch import save_file


def main(path: str) -> None:
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32", load_weights=False)
    # Whole or not at all: a file that was cut off would be taken for the weights.
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, f"{path}.part")
    os.replace(f"{path}.part", path)


if __name__ == "__main__":
    main(*sys.argv[1:])
