"""An image job holds the image tower: measured in a process of its own, against a load of the whole model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from made.open_clip_folders import CONFIGS, PREPROCESS, build
from operators.models.load import describe
from operators.models.spec import parse_model_name

CONFIG: dict[str, Any] = CONFIGS["clip"] | {
    "embed_dim": 64,
    "text_cfg": {"context_length": 16, "vocab_size": 120_000, "width": 512, "heads": 8, "layers": 1},
}
TEXT_BYTES = 120_000 * 512 * 4

# The image embedder first, since a peak only grows. VmHWM and not `ru_maxrss`, which a child begins with its parent's.
MEASURE = """
import sys
import numpy as np
import open_clip, torch
from operators.models.open_clip import family
from operators.models.load import load_image_embedder
from operators.models.runtime import Runtime
from operators.models.spec import ModelDescription

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

folder = sys.argv[1]
description = ModelDescription.model_validate_json(open(folder + "/description.json").read())
pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
before = peak()
np.save(folder + "/image.npy", load_image_embedder(description, Runtime()).embed(pixels))
image = peak() - before
visual = open_clip.create_model(description.spec.architecture).eval().visual
whole = peak() - before
mean, std = (torch.tensor(each).mul(255) for each in (description.preprocess.mean, description.preprocess.std))
with torch.inference_mode():
    vectors = visual(torch.from_numpy(pixels).float().sub(mean).mul(std.reciprocal()).permute(0, 3, 1, 2))
np.save(folder + "/whole.npy", vectors.numpy())
print(image, whole)
"""


def test_an_image_job_never_holds_the_text_tower(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": PREPROCESS}))
    save_file(build(CONFIG).state_dict(), tmp_path / "open_clip_model.safetensors")
    description = describe(parse_model_name(f"open_clip:local-dir:{tmp_path}"))
    (tmp_path / "description.json").write_text(description.model_dump_json())
    done = subprocess.run([sys.executable, "-c", MEASURE, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    image, whole = map(int, done.stdout.split())
    # Whole: the tensors of the file beside those of the model. Image: what torch itself takes at its first run.
    assert whole > 1.5 * TEXT_BYTES
    assert image < 0.25 * TEXT_BYTES
    np.testing.assert_array_equal(np.load(tmp_path / "image.npy"), np.load(tmp_path / "whole.npy"))
