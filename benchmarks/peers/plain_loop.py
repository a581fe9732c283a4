"""The plain loop: a DataLoader with one worker, open_clip's own transform, ViT-B/32, the vectors in one array.

`python plain_loop.py FOLDER WEIGHTS OUT`. Stands alone: it runs with torch and open_clip and imports nothing of ours.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

BATCH = 32


class Photographs(Dataset[torch.Tensor]):
    def __init__(self, paths: list[Path], transform: open_clip.transform.Compose) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as image:
            tensor: torch.Tensor = self.transform(image)
        return tensor


def main(folder: str, weights: str, out: str) -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model, _, transform = open_clip.create_model_and_transforms("ViT-B-32", pretrained=weights)
    model = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    paths = sorted(Path(folder).glob("*.jpg"))
    batches = DataLoader(Photographs(paths, transform), batch_size=BATCH, num_workers=1, prefetch_factor=4)
    with torch.inference_mode():
        parts = [model.encode_image(batch.contiguous(memory_format=torch.channels_last)) for batch in batches]
        vectors = torch.nn.functional.normalize(torch.cat(parts), dim=-1)
    Path(out).mkdir()
    np.save(f"{out}/vectors.npy", vectors.numpy())
    Path(out, "names.json").write_text(json.dumps([path.name for path in paths]))


if __name__ == "__main__":
    main(*sys.argv[1:])
