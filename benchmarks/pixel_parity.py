"""How near Pixlake's pixels are to open_clip's own: `python -m benchmarks.pixel_parity --images DIR`.

Each image is decoded and resized by both, to 224 x 224, shortest side first, bicubic, as CLIP ViT-B/32 takes it.
"""

import argparse
from pathlib import Path

import numpy as np
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from benchmarks.photographs import find
from operators.pixels.images import DecodeRules, decode
from operators.pixels.preprocess import Preprocess
from operators.pixels.resize import fit

SIZE = 224
RAW = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
"""Leaves the transform's values in 0 to 1, so that they are the pixels."""
OURS = Preprocess.square_pixels(SIZE, "shortest")
THEIRS = image_transform_v2(PreprocessCfg(size=SIZE, resize_mode="shortest", interpolation="bicubic", **RAW), False)


def psnr(path: Path) -> float:
    """In dB, infinite where all pixels are equal. Raises what either decoder raises."""
    ours = np.empty((SIZE, SIZE, 3), np.uint8)
    fit(decode(path.read_bytes(), DecodeRules(max_pixels=50_000_000)).pixels, OURS, ours)
    with Image.open(path) as image:
        theirs = (THEIRS(image).permute(1, 2, 0).numpy() * 255).round()
    error = float(((ours - theirs) ** 2).mean())
    return 10 * np.log10(255**2 / error) if error else float("inf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="A folder of photographs, read with all below it.")
    found = np.array([psnr(path) for path in find(parser.parse_args().images)])
    differ = found[np.isfinite(found)]
    print(f"{found.size:,} images, {found.size - differ.size:,} of them equal in every pixel")
    if differ.size:
        print(f"the others: PSNR {differ.mean():.1f} dB on average, {differ.min():.1f} dB at least")


if __name__ == "__main__":
    main()
