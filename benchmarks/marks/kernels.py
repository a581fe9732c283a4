"""Mark 5: decode, resize and crop on one core, over open_clip's own transform (PIL) of the same files."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.marks.alone import ask, rounds_of
from benchmarks.marks.marks import Outcome
from benchmarks.marks.setting import Setting
from benchmarks.turns import ratio

LOWEST_DB = 70.0


def measure(setting: Setting, wanted: set[str]) -> dict[str, Outcome]:
    paths = setting.photographs[: setting.sizes.kernel_images]
    found = ask("kernels", {"paths": [str(path) for path in paths], "rounds": setting.sizes.kernel_rounds})
    seconds, lowest = found["seconds"], found["lowest_db"]
    faster, pixels_alone = (ratio(seconds[side], seconds["ours"]) for side in ("theirs", "theirs, to pixels"))
    ms = {side: 1000 * min(each) / len(paths) for side, each in seconds.items()}
    return {
        "5": Outcome(
            value=faster.best,
            median=faster.median,
            note=f"{ms['ours']:.2f} and {ms['theirs']:.2f} ms; {pixels_alone.best:.2f} without its tensor and "
            f"normalisation; PSNR {_db(lowest)} at least",
            faults=() if lowest is None or lowest >= LOWEST_DB else (f"PSNR {_db(lowest)}",),
            figures=found,
        )
    }


def _db(lowest: float | None) -> str:
    return "infinite" if lowest is None else f"{lowest:.1f} dB"


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds of each round over all files, and the lowest PSNR, None where all pixels are equal."""
    import numpy as np
    import torch
    from PIL import Image
    from torchvision.transforms import Compose

    from benchmarks.pixel_parity import OURS, SIZE, THEIRS, psnr
    from operators.pixels.images import DecodeRules, decode
    from operators.pixels.resize import fit

    torch.set_num_threads(1)
    paths = [Path(path) for path in request["paths"]]
    files = [path.read_bytes() for path in paths]
    rules, out = DecodeRules(max_pixels=50_000_000), np.empty((SIZE, SIZE, 3), np.uint8)
    to_pixels = Compose(THEIRS.transforms[:-2])

    def ours() -> None:
        for data in files:
            fit(decode(data, rules).pixels, OURS, out)

    def theirs(transform: Compose) -> None:
        for data in files:
            with Image.open(io.BytesIO(data)) as image:
                transform(image)

    sides = {"ours": ours, "theirs": lambda: theirs(THEIRS), "theirs, to pixels": lambda: theirs(to_pixels)}
    found = [psnr(path) for path in paths]
    finite = [each for each in found if np.isfinite(each)]
    return {"seconds": rounds_of(sides, request["rounds"]), "lowest_db": min(finite, default=None)}
