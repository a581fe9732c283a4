"""Daft: download, decode, and a class with the model, as its documentation has it.

`python daft_job.py FOLDER WEIGHTS OUT`. Stands alone: it runs with daft, torch and open_clip in an environment of its
own and imports nothing of ours.
"""

import sys
from pathlib import Path

import daft
import numpy as np
import open_clip
import torch
from daft import DataType, Series, col
from PIL import Image

BATCH = 32
DIM = 512


@daft.cls
class Model:
    def __init__(self, weights: str) -> None:
        model, _, self.transform = open_clip.create_model_and_transforms("ViT-B-32", pretrained=weights)
        self.model = model.eval().requires_grad_(False)

    @daft.method.batch(return_dtype=DataType.embedding(DataType.float32(), DIM), batch_size=BATCH)  # type: ignore[untyped-decorator]
    def __call__(self, images: Series) -> np.ndarray:
        batch = torch.stack([self.transform(Image.fromarray(image)) for image in images.to_pylist()])
        with torch.inference_mode():
            vectors: np.ndarray = self.model.encode_image(batch, normalize=True).numpy()
        return vectors


def main(folder: str, weights: str, out: str) -> None:
    model = Model(weights)
    paths = sorted(Path(folder).glob("*.jpg"))
    frame = daft.from_pydict({"name": [path.name for path in paths], "path": [str(path) for path in paths]})
    frame = frame.with_column("image", col("path").download().decode_image(mode="RGB"))
    frame.select(col("name"), model(col("image")).alias("vector")).write_parquet(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
