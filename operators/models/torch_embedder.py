"""Runs an image tower on a device: normalisation, precision, micro-batches, copies overlapped with compute."""

import threading
import warnings

import numpy as np
import torch

from operators.models.load import Runtime
from operators.preprocess import Preprocess

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Blocks from the object store are read-only; the tower never writes to its input.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


class TorchEmbedder:
    """`tower` maps normalised (N, 3, H, W) to (N, dim); it is moved to `device` and made inference-only here."""

    def __init__(
        self,
        tower: torch.nn.Module,
        preprocess: Preprocess,
        runtime: Runtime,
    ) -> None:
        self.device = torch.device(runtime.device)
        self.batch_size = runtime.batch_size
        self.dtype = DTYPES[runtime.precision]
        if self.dtype == torch.float32:
            # cuDNN would round the inputs of convolutions to TF32's 10 bits of mantissa; matmul does so only if asked.
            torch.backends.cudnn.allow_tf32 = False
        # Weights in bf16 beat autocast on transformers (2.1x against 0.9x of float32 on this CPU); batch norm
        # needs its statistics in float32, and there autocast is the faster form too.
        has_batch_norm = any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in tower.modules())
        self.autocast = has_batch_norm and self.dtype != torch.float32
        tower = tower.eval().requires_grad_(False).to(self.device)
        tower = tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if not self.autocast:
            tower = tower.to(self.dtype)
        self.tower = torch.compile(tower) if runtime.compile else tower
        shape = (1, 3, 1, 1)
        self.shift = torch.tensor(preprocess.mean, device=self.device).mul(255).view(shape)
        self.scale = torch.tensor(preprocess.std, device=self.device).mul(255).reciprocal().view(shape)
        self.lock = threading.Lock()

    def embed(self, pixels_NHWC: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 to (N, dim) float32, in micro-batches of `batch_size`."""
        if not len(pixels_NHWC):
            raise ValueError("no images to embed")
        with self.lock, torch.inference_mode():
            if self.device.type == "cuda":
                return self._embed_on_gpu(pixels_NHWC)
            parts = [self._forward(torch.from_numpy(part)) for part in self._micro_batches(pixels_NHWC)]
            return torch.cat(parts).numpy()

    def _micro_batches(self, pixels_NHWC: np.ndarray) -> list[np.ndarray]:
        starts = range(0, len(pixels_NHWC), self.batch_size)
        return [pixels_NHWC[i : i + self.batch_size] for i in starts]

    def _forward(self, pixels_NHWC: torch.Tensor) -> torch.Tensor:
        """uint8 on the device to float32 vectors on the device; halves the batch when memory does not suffice."""
        half = len(pixels_NHWC) // 2
        try:
            return self._run_tower(pixels_NHWC)
        except torch.OutOfMemoryError:
            if not half:
                raise
        # Not in the handler: there the traceback still holds the tensors of what failed.
        torch.cuda.empty_cache()
        return torch.cat([self._forward(pixels_NHWC[:half]), self._forward(pixels_NHWC[half:])])

    def _run_tower(self, pixels_NHWC: torch.Tensor) -> torch.Tensor:
        x_NCHW = pixels_NHWC.permute(0, 3, 1, 2).to(torch.float32).sub_(self.shift).mul_(self.scale)
        with torch.autocast(self.device.type, self.dtype, enabled=self.autocast):
            vectors: torch.Tensor = self.tower(x_NCHW if self.autocast else x_NCHW.to(self.dtype))
        return vectors.to(torch.float32)

    def _embed_on_gpu(self, pixels_NHWC: np.ndarray) -> np.ndarray:
        """Two pinned buffers: while one micro-batch computes, the next is copied on a stream of its own."""
        copies, compute = torch.cuda.Stream(), torch.cuda.current_stream()  # type: ignore[no-untyped-call]
        size = min(self.batch_size, len(pixels_NHWC))
        pinned = [torch.empty((size, *pixels_NHWC.shape[1:]), dtype=torch.uint8, pin_memory=True) for _ in range(2)]
        copied = [torch.cuda.Event() for _ in pinned]  # type: ignore[no-untyped-call]
        vectors = []
        for i, part in enumerate(self._micro_batches(pixels_NHWC)):
            buffer, event = pinned[i % 2][: len(part)], copied[i % 2]
            event.synchronize()
            np.copyto(buffer.numpy(), part)
            with torch.cuda.stream(copies):
                on_device = buffer.to(self.device, non_blocking=True)
                event.record(copies)
            compute.wait_event(event)
            on_device.record_stream(compute)
            vectors.append(self._forward(on_device))
        return torch.cat(vectors).cpu().numpy()
