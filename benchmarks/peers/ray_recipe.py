"""Ray Data's own recipe for batch inference: `read_images`, `map` with the transform, `map_batches` with an actor.

`python ray_recipe.py FOLDER WEIGHTS OUT`, written after the image example in Ray's documentation. Stands alone: it runs
with ray[data], torch and open_clip and imports nothing of ours.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import ray
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

CORES = len(os.sched_getaffinity(0))
BATCH = 32
TRANSFORM = image_transform_v2(PreprocessCfg(), is_train=False)


def transformed(row: dict[str, Any]) -> dict[str, Any]:
    return {"path": row["path"], "image": TRANSFORM(Image.fromarray(row["image"])).numpy()}


class Model:
    def __init__(self, weights: str) -> None:
        # Ray gives an actor of one CPU one thread: the forward pass would leave the other cores idle.
        torch.set_num_threads(CORES)
        model = open_clip.create_model("ViT-B-32", pretrained=weights)
        self.model = model.eval().requires_grad_(False)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        with torch.inference_mode():
            vectors = self.model.encode_image(torch.from_numpy(batch["image"]), normalize=True)
        return {"name": [Path(path).name for path in batch["path"]], "vector": vectors.numpy()}


def main(folder: str, weights: str, out: str) -> None:
    images = ray.data.read_images(folder, include_paths=True, mode="RGB")
    vectors = images.map(transformed).map_batches(
        Model, fn_constructor_args=(weights,), batch_size=BATCH, compute=ray.data.ActorPoolStrategy(size=1)
    )
    vectors.write_parquet(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
