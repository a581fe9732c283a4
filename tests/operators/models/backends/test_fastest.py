"""The fastest way to run a model: never one whose vectors are others, and not for a gain within the noise."""

import numpy as np
import pytest

from operators.models.backends import fastest as module
from operators.models.backends.fastest import fastest, ways_here
from operators.models.canaries import Canaries, record_canaries
from operators.models.spec import parse_model_name

EXACT = np.random.default_rng(0).normal(size=(16, 64)).astype(np.float32)
OFF = np.random.default_rng(1).normal(size=(16, 64)).astype(np.float32)


def gave(moved: float) -> Canaries:
    return record_canaries(EXACT + moved * OFF, name="m", precision="float32", device="cpu")


NEAR, FAR = gave(0.02), gave(0.1)


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ([], 0),
        ([(NEAR, 0.5)], 1),
        ([(NEAR, 0.9)], 0),
        ([(FAR, 0.1)], 0),
        ([(None, None)], 0),
        ([(NEAR, 0.5), (NEAR, 0.2)], 2),
        ([(NEAR, 0.5), (FAR, 0.2)], 1),
        ([(NEAR, 0.5), (None, None)], 1),
    ],
)
def test_the_fastest_that_is_near_enough(others: list[tuple[Canaries | None, float | None]], chosen: int) -> None:
    assert fastest([(gave(0), 1.0), *others]) == chosen


def test_what_is_not_run_stays_in_float32() -> None:
    assert fastest([(None, None)]) == 0


def test_bfloat16_is_tried_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = parse_model_name("efficientnet-lite0")
    monkeypatch.setattr(module, "cpu", lambda: "flags : avx2 avx512_bf16")
    assert ways_here(spec, "auto", compile=False) == [
        ("float32", "auto"),
        ("bfloat16", "torch"),
        ("bfloat16", "openvino"),
    ]
    assert ways_here(spec, "torch", compile=False) == [("float32", "torch"), ("bfloat16", "torch")]
    assert ways_here(spec, "openvino", compile=False) == [("float32", "openvino"), ("bfloat16", "openvino")]
    monkeypatch.setattr(module, "cpu", lambda: "flags : avx2 avx512f")
    assert ways_here(spec, "auto", compile=False) == [("float32", "auto")]
