"""Runs a converted network on this machine's CPUs through OpenVINO: neither torch nor a model's library is imported."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from operators.base.lent import Lent
from operators.models.spec import Precision

PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
"""Our names -> OpenVINO's. Always set: unless told, it computes in bfloat16 wherever the CPU can."""


_MOST_IMAGES = 16
"""Images of a pass at most: EfficientNet-Lite0 does 95 a second of one core by 32, 115 by 16 and by 4, where its
activations stay in the caches; ResNet-50 15, 16 and 16; ViT-B/32 15.7, 15.6 and 14.3."""


def openvino() -> Any:
    """The module. `import openvino` alone tells Google Analytics of itself, unless its telemetry package is absent."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        _import_without_converter()
    import openvino

    return openvino


def _import_without_converter() -> None:
    """Half of what it imports is its converter's, 0.13 s: that waits until something is converted."""
    sys.modules.setdefault("openvino.tools", None)  # type: ignore[arg-type]
    try:
        import openvino
    finally:
        if sys.modules["openvino.tools"] is None:
            del sys.modules["openvino.tools"]
    openvino.convert_model = _convert_model


def _convert_model(*args: Any, **kwargs: Any) -> Any:
    """`openvino.convert_model`."""
    from openvino.tools.ovc import convert_model

    return convert_model(*args, **kwargs)


def cpu_threads() -> int:
    """As many as torch takes unless told: `OMP_NUM_THREADS`, which Ray sets for its actors, or all CPUs that this
    process may use. OpenVINO alone would take all of the machine."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) else len(os.sched_getaffinity(0))


class OpenVinoEmbedder:
    """`network` maps (N, H, W, 3) uint8 RGB to (N, dim) float32: the path of its `.xml`, or an `openvino.Model`.

    `concurrency` calls of `embed` run at a time, each on `num_threads` CPU threads, and others wait. Without
    `num_threads` they share what torch would take.
    """

    backend = "openvino"
    takes_regions = False

    def __init__(
        self,
        network: Path | Any,
        *,
        precision: Precision = "float32",
        batch_size: int = 32,
        num_threads: int | None = None,
        concurrency: int = 1,
    ) -> None:
        ov = openvino()
        self._tensor = ov.Tensor
        self.batch_size = min(batch_size, _MOST_IMAGES)
        threads = num_threads * concurrency if num_threads else cpu_threads()
        settings = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "NUM_STREAMS": min(concurrency, threads),
            "INFERENCE_NUM_THREADS": threads,
            # Pinned, the processes of a node would all sit on its first cores.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = ov.Core().compile_model(network, "CPU", settings)
        self._requests = Lent([compiled.create_infer_request() for _ in range(concurrency)])

    def embed(self, pixels_NHWC: np.ndarray) -> np.ndarray:
        """From (N, H, W, 3) uint8 to (N, dim) float32, in micro-batches of `batch_size`, 16 at most."""
        if not len(pixels_NHWC):
            raise ValueError("no images to embed")
        with self._requests.one() as request:
            starts = range(0, len(pixels_NHWC), self.batch_size)
            return np.concatenate([self._forward(request, pixels_NHWC[at : at + self.batch_size]) for at in starts])

    def _forward(self, request: Any, pixels_NHWC: np.ndarray) -> np.ndarray:
        # A copy: it shares no memory that is read-only, as blocks in Ray's object store are.
        request.infer([self._tensor(np.ascontiguousarray(pixels_NHWC))])
        vectors: np.ndarray = request.get_output_tensor(0).data.copy()
        return vectors
