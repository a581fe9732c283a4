"""Mark 6: the forward pass of efficientnet-lite0 as Pixlake runs it over plain eager float32 timm, on one core."""

from collections.abc import Mapping
from typing import Any

from benchmarks.marks.alone import ask, rounds_of
from benchmarks.marks.marks import Outcome
from benchmarks.marks.setting import LITE, Setting
from benchmarks.turns import ratio

BATCH = 32
LOWEST_COSINE = 0.9999


def measure(setting: Setting, wanted: set[str]) -> dict[str, Outcome]:
    paths = [str(path) for path in setting.photographs[: min(BATCH, setting.sizes.kernel_images)]]
    request = {"paths": paths, "rounds": setting.sizes.kernel_rounds, "sets": setting.sets}
    found = ask("forward", request)
    seconds, lowest = found["seconds"], found["lowest_cosine"]
    faster = ratio(seconds["theirs"], seconds["ours"])
    rates = {side: len(paths) / min(each) for side, each in seconds.items()}
    return {
        "6": Outcome(
            value=faster.best,
            median=faster.median,
            note=f"{rates['ours']:.1f} and {rates['theirs']:.1f} images/s; cosine {lowest:.6f} at least",
            faults=() if lowest >= LOWEST_COSINE else (f"cosine {lowest:.6f}",),
            figures=found,
        )
    }


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds of each round of one batch, and the lowest cosine of the two sides' vectors."""
    import numpy as np
    import torch

    from operators.models.spec import parse_model_name
    from operators.models.timm.efficientnet_lite import PREPROCESS, load_classifier
    from operators.pixels.images import DecodeRules, decode
    from operators.pixels.resize import fit

    torch.set_num_threads(1)
    pixels = np.zeros((len(request["paths"]), PREPROCESS.height, PREPROCESS.width, 3), np.uint8)
    for path, out in zip(request["paths"], pixels, strict=True):
        with open(path, "rb") as file:
            fit(decode(file.read(), DecodeRules(max_pixels=50_000_000)).pixels, PREPROCESS, out)
    ours = _as_pixlake_runs_it(request)
    module = load_classifier(parse_model_name(LITE))
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (PREPROCESS.mean, PREPROCESS.std))
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()

    def theirs() -> torch.Tensor:
        with torch.inference_mode():
            features = module.forward_features((images / 255 - mean) / std)  # type: ignore[operator]
            vectors: torch.Tensor = module.forward_head(features, pre_logits=True)  # type: ignore[operator]
        return vectors

    first, second = ours(pixels), theirs().numpy()
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    lowest = float(((first * second).sum(1) / norms).min())
    return {
        "seconds": rounds_of({"ours": lambda: ours(pixels), "theirs": theirs}, request["rounds"]),
        "lowest_cosine": lowest,
    }


def _as_pixlake_runs_it(request: Mapping[str, Any]) -> Any:
    """The embedder of the operator that `pixlake embed` plans, with one thread."""
    from jobs.embed import load, plan

    base = {"source": {"uri": request["paths"][0]}, "table": "lake/bench", "model": {"name": LITE}}
    planned = plan(load(sets=[*request["sets"], "cluster.num_threads=1"], base=base))
    operators = [each for stage in planned.prepared.pipeline.stages for each in stage.operators]
    return next(each for each in operators if each.name == "embed").build().embedder.embed  # type: ignore[attr-defined]
