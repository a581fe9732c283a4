#!/usr/bin/env bash
# OpenVINO 2026.4.1: a network of float32 weights, compiled for "CPU" without a word on precision, computes in bfloat16 on a
# processor that has AVX512_BF16 or AMX: the same file gives other vectors on another machine.
#
# `compile_model(model, "CPU")` on a network whose inputs, weights and outputs are all float32. On such a processor the
# compiled network says INFERENCE_PRECISION_HINT bf16, and the vectors below have a cosine of under 0.9999 to NumPy's;
# with the hint f32 it is 1 to six places. Nothing is said. EfficientNet-Lite0's vectors of photographs fall to 0.9856, and a
# table that was filled by two kinds of machines holds two kinds of vectors. On a processor without these instructions
# this script says so and ends with 0. Seen on a Xeon with both: hint bf16, relative error above 1e-3; with f32 below 1e-5.
#
# Pixlake always sets the hint, and records the precision with the table: docs/models.md, backend.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if ! grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo; then
    echo "this processor has neither AVX512_BF16 nor AMX: nothing to see here"
    exit 0
fi
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check openvino==2026.4.1 numpy==2.4.0
"$folder/venv/bin/python" - <<'P'
import sys

import numpy as np
import openvino as ov
from openvino import opset13 as ops

random = np.random.default_rng(0)
weights = [random.normal(0, np.sqrt(2 / 512), (512, 512)).astype(np.float32) for _ in range(12)]
images = random.normal(0, 1, (8, 512)).astype(np.float32)

layer = given = ops.parameter([8, 512], np.float32)
expected = images.astype(np.float64)
for matrix in weights:
    layer = ops.relu(ops.matmul(layer, ops.constant(matrix), False, False))
    expected = np.maximum(expected @ matrix, 0)
model = ov.Model([layer], [given])


def compiled(settings):
    network = ov.Core().compile_model(model, "CPU", settings)
    vectors = network([images])[0].astype(np.float64)
    cosines = (vectors * expected).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(expected, axis=1)
    error = np.abs(vectors - expected).max() / np.abs(expected).max()
    print(f"{settings or 'no settings'}: computes in {network.get_property('INFERENCE_PRECISION_HINT').to_string()}, "
          f"smallest cosine {cosines.min():.7f}, largest error {error:.1e}")
    return network.get_property("INFERENCE_PRECISION_HINT").to_string(), error


print("openvino", ov.__version__)
by_itself, own_error = compiled({})
_, told_error = compiled({"INFERENCE_PRECISION_HINT": "f32"})
sys.exit(0 if (by_itself == "bf16" and own_error > 1e-3 and told_error < 1e-5) else "changed")
P
