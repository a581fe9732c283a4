"""From a torch embedder to an OpenVINO network that gives the same vectors, which is checked."""

import warnings
from typing import Any

import numpy as np
import torch

from operators.models.backends.openvino import OpenVinoEmbedder, openvino
from operators.models.canaries import canary_pixels
from operators.models.spec import Precision
from operators.models.towers.embedder import TorchEmbedder
from operators.pixels.preprocess import Preprocess

LEAST_COSINE = {"float32": 0.99999, "bfloat16": 0.999, "float16": 0.999}
"""Precision -> the least cosine to eager float32 torch that a converted network may give on any canary image."""
_MOST_STRETCHED = 0.01
"""Largest difference of a vector's length, as a fraction: where vectors are not normalised, the length counts."""


class NotConverted(Exception):
    """The network cannot be converted, or gives other vectors then; the message says what differs."""


class _FromPixels(torch.nn.Module):
    """From (N, H, W, 3) uint8 to (N, dim) float32: normalisation is part of the network, and merges with its first
    layer."""

    def __init__(self, embedder: TorchEmbedder) -> None:
        super().__init__()
        self.tower, self.shift, self.scale = embedder.tower, embedder.shift, embedder.scale

    def forward(self, pixels_NHWC: torch.Tensor) -> torch.Tensor:
        x_NCHW = pixels_NHWC.permute(0, 3, 1, 2).to(torch.float32).sub(self.shift).mul(self.scale)
        vectors: torch.Tensor = self.tower(x_NCHW)
        return vectors


def convert(embedder: TorchEmbedder, preprocess: Preprocess, precision: Precision) -> Any:
    """An `openvino.Model` for `OpenVinoEmbedder`, with the vectors of `embedder`, which is in float32 on the CPU.

    Raises `NotConverted` where OpenVINO cannot convert it, or where a vector of the canary images, computed in
    `precision`, is not within `LEAST_COSINE` of the embedder's own.
    """
    pixels = canary_pixels(preprocess)
    try:
        network = _converted(embedder, pixels[:2], preprocess)
        # Another number of images than it was traced with, and one alone: a batch size may have become a constant.
        found = OpenVinoEmbedder(network, precision=precision, batch_size=len(pixels) - 1).embed(pixels)
    except RuntimeError as error:
        # OpenVINO's own errors, and torch's of what cannot be traced. Want of memory says nothing of the network.
        if "memory" in str(error).lower():
            raise
        raise NotConverted(f"OpenVINO cannot run it: {error}") from error
    _check(embedder.embed(pixels), found, precision)
    return network


def _converted(embedder: TorchEmbedder, pixels_NHWC: np.ndarray, preprocess: Preprocess) -> Any:
    shape = [-1, preprocess.height, preprocess.width, 3]
    example, threads = torch.from_numpy(np.array(pixels_NHWC)), torch.get_num_threads()
    # Threads that wait for each other in the many small steps of it take twice the CPU.
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            # torch means to replace tracing.
            warnings.simplefilter("ignore")
            # Traced here: OpenVINO would have each trace made three times and compared, 2 s of the 3.5; vectors are
            # compared below.
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                _FromPixels(embedder).eval(), example, check_trace=False
            )
            return openvino().convert_model(traced, example_input=example, input=shape)
    finally:
        torch.set_num_threads(threads)


def _check(wanted_ND: np.ndarray, found_ND: np.ndarray, precision: Precision) -> None:
    if found_ND.shape != wanted_ND.shape:
        raise NotConverted(f"it gives vectors of shape {found_ND.shape}, and torch of {wanted_ND.shape}")
    wanted, found = (np.linalg.norm(each.astype(np.float64), axis=1) for each in (wanted_ND, found_ND))
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.einsum("nd,nd->n", wanted_ND, found_ND, dtype=np.float64) / (wanted * found)
        stretched = np.abs(found / wanted - 1)
    least = LEAST_COSINE[precision]
    # NaN compares as false with anything, so it must be the comparison that passes.
    if not ((cosines >= least) & (stretched <= _MOST_STRETCHED)).all():
        lowest, most = np.nan_to_num(cosines).min(), np.nan_to_num(stretched).max()
        raise NotConverted(
            f"its vectors of {len(cosines)} test images in {precision} have a cosine of {lowest:.6f} at worst to those "
            f"of torch in float32, and lengths that differ by {most:.2%} at most; {least} and {_MOST_STRETCHED:.0%} "
            "are wanted"
        )
