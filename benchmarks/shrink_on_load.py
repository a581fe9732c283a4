"""`python -m benchmarks.shrink_on_load [--images DIR]`: large JPEGs decoded whole and by `decode.shrink_on_load`.

Mosaics of photographs, of 2, 4 and 12 megapixels, quality 90: milliseconds of decoding and resizing to 224 x 224 on one
core, in turn; PSNR of the pixels; cosines of EfficientNet-Lite0's vectors.
"""

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import photographs
from operators.decoding.child import fit_decoded
from operators.models.load import ImageEmbedder, describe, load_image_embedder
from operators.models.runtime import Runtime
from operators.models.spec import parse_model_name
from operators.normalize import l2_normalize
from operators.pixels.images import DecodeRules, decode
from operators.pixels.preprocess import Preprocess

MODEL = "efficientnet-lite0"
SIDES = {"2 MP": (1632, 1224), "4 MP": (2308, 1732), "12 MP": (4000, 3000)}
FILES, ROUNDS = 12, 5
RULES = DecodeRules(max_pixels=50_000_000)


def mosaics(found: list[Path], size: tuple[int, int]) -> list[bytes]:
    """JPEGs of `size` (width, height), each of as many photographs as fill it."""
    files, made = cycle(found), []
    for _ in range(FILES):
        whole = Image.new("RGB", size)
        for top in range(0, size[1], photographs.SIZE[1]):
            for left, path in zip(range(0, size[0], photographs.SIZE[0]), files, strict=False):
                whole.paste(Image.open(path).convert("RGB").resize(photographs.SIZE), (left, top))
        out = io.BytesIO()
        whole.save(out, "JPEG", quality=90)
        made.append(out.getvalue())
    return made


def compare(files: list[bytes], target: Preprocess, embedder: ImageEmbedder) -> str:
    """How much faster, how near the pixels and the vectors, in words."""
    kinds = {"whole": RULES, "shrunk": replace(RULES, shrink_for=(target,))}
    pixels = {kind: np.empty((len(files), target.height, target.width, 3), np.uint8) for kind in kinds}

    def work(kind: str) -> None:
        for data, out in zip(files, pixels[kind], strict=True):
            fit_decoded(decode(data, kinds[kind]), target, out)

    whole, shrunk = (1000 * seconds / len(files) for seconds in in_turn(work, list(kinds)).values())
    errors = ((pixels["whole"].astype(np.float64) - pixels["shrunk"]) ** 2).mean((1, 2, 3))
    one, other = (l2_normalize(embedder.embed(each)).astype(np.float64) for each in pixels.values())
    cosines = (one * other).sum(1)
    return (
        f"{whole:.2f} ms whole, {shrunk:.2f} ms shrunk: {whole / shrunk:.2f} times as fast; "
        f"PSNR {10 * np.log10(255**2 / errors.max()):.1f} dB at least; "
        f"cosine {cosines.mean():.5f} on average, {cosines.min():.5f} at least"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shrink_on_load", description=__doc__)
    parser.add_argument("--images", type=Path, help="folder of photographs; default: made from scikit-image's")
    given = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    description = describe(parse_model_name(MODEL))
    embedder = load_image_embedder(description, Runtime(backend="auto", num_threads=1))
    with tempfile.TemporaryDirectory() as name:
        found = photographs.find(given.images) if given.images else photographs.make(Path(name))
        for label, size in SIDES.items():
            print(f"{label}: {compare(mosaics(found, size), description.preprocess, embedder)}", flush=True)


def in_turn(work: Callable[[str], None], kinds: list[str]) -> dict[str, float]:
    """Seconds of the fastest round of each."""
    best = dict.fromkeys(kinds, float("inf"))
    for kind in islice(cycle(kinds), ROUNDS * len(kinds)):
        started = time.perf_counter()
        work(kind)
        best[kind] = min(best[kind], time.perf_counter() - started)
    return best


if __name__ == "__main__":
    main()
