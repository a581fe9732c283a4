"""What decoding once for three models saves: `python -m benchmarks.shared_decode [--images DIR]`.

CPU seconds of one core for an image of CLIP's, SigLIP's and DINOv2's sizes: one decode and three resizes, against a
decode and a resize three times over. Rounds of the two are taken in turn, and each one's best is printed.
"""

import argparse
import time
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.photographs import find, make
from operators.pixels.images import DecodeRules, decode
from operators.pixels.preprocess import Preprocess
from operators.pixels.resize import fit

SIZES = (224, 384, 518)
IMAGES = 16
ROUNDS = 25
RULES = DecodeRules(max_pixels=50_000_000)


def cpu_seconds(files: list[bytes], passes: list[list[Preprocess]]) -> float:
    """Of one image: a decode for each pass, and a resize for each size of it."""
    outs = {size: np.empty((size, size, 3), np.uint8) for size in SIZES}
    started = time.process_time()
    for data in files:
        for sizes in passes:
            pixels = decode(data, RULES).pixels
            for preprocess in sizes:
                fit(pixels, preprocess, outs[preprocess.height])
    return (time.process_time() - started) / len(files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, help="A folder of photographs; default: cut from scikit-image's.")
    folder = parser.parse_args().images
    with TemporaryDirectory() as made:
        paths = find(folder) if folder else make(Path(made))
        files = [path.read_bytes() for path in islice(paths, IMAGES)]
    models = [Preprocess.square_pixels(size, "shortest") for size in SIZES]
    shared, apart = [], []
    for _ in range(ROUNDS):
        shared.append(cpu_seconds(files, [models]))
        apart.append(cpu_seconds(files, [[model] for model in models]))
    print(f"decoded once for {', '.join(map(str, SIZES))} pixels: {min(shared) * 1e3:.2f} ms an image")
    print(f"decoded for each: {min(apart) * 1e3:.2f} ms, {min(apart) / min(shared):.2f} times as long")


if __name__ == "__main__":
    main()
