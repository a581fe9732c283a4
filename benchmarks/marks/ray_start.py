"""Mark 9: a job's start-up on Ray, over Ray's own start and one load of the model, each alone."""

import json
import sys
from functools import partial
from itertools import count

from benchmarks.marks.marks import Outcome
from benchmarks.marks.setting import LITE, Setting, seconds_of
from benchmarks.turns import Timed, in_turn, ratio, timed

RAY_ALONE = """
import ray
ray.init(log_to_driver=False)
ray.data.range(8).map_batches(lambda batch: batch).materialize()
"""
MODEL_ALONE = """
from operators.models.load import describe, load_image_embedder
from operators.models.runtime import Runtime
from operators.models.spec import parse_model_name
import numpy as np
model = describe(parse_model_name({model!r}))
pixels = np.zeros((1, model.preprocess.height, model.preprocess.width, 3), np.uint8)
load_image_embedder(model, Runtime()).embed(pixels)
"""


def measure(setting: Setting, wanted: set[str]) -> dict[str, Outcome]:
    """The job's part is its whole process less the seconds from the first block to the last commit; the other two are
    whole processes as well."""
    numbers = count()
    runs = in_turn(
        {
            "job": partial(_job, setting, numbers),
            "Ray": partial(timed, [sys.executable, "-c", RAY_ALONE]),
            "model": partial(timed, [sys.executable, "-c", MODEL_ALONE.format(model=LITE)]),
        },
        setting.sizes.rounds,
    )
    reports = [json.loads(each.output) for each in runs["job"]]
    ours = [each.seconds - report["seconds"] for each, report in zip(runs["job"], reports, strict=True)]
    alone = [ray.seconds + model.seconds for ray, model in zip(runs["Ray"], runs["model"], strict=True)]
    found = ratio(ours, alone)
    parts = {side: min(each.seconds for each in runs[side]) for side in ("Ray", "model")}
    return {
        "9": Outcome(
            value=found.best,
            median=found.median,
            note=f"{min(ours):.1f} s over {parts['Ray']:.1f} + {parts['model']:.1f} s, {LITE}; "
            f"{min(report['startup_seconds'] for report in reports):.1f} s by the report",
            figures={"startup": ours, **{side: seconds_of(of_side) for side, of_side in runs.items()}},
        )
    }


def _job(setting: Setting, numbers: "count[int]") -> Timed:
    return setting.embed(setting.jpegs, f"started-{next(numbers)}", LITE, "cluster.executor=ray")
