"""Runs an image tower on a device: normalisation, precision, micro-batches, copies overlapped with compute."""

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain

import numpy as np
import torch

from operators.base.lent import Lent
from operators.base.memory import is_out_of_memory
from operators.base.process_settings import give_back_at_once
from operators.models.runtime import Runtime
from operators.models.towers.batch_limit import BatchLimit
from operators.models.towers.batch_trial import fastest_batch
from operators.models.towers.engine import AHEAD, Engine, Finish
from operators.models.towers.kernel_thread import note_kernels, where_kernels_are_made
from operators.pixels.preprocess import Preprocess

_TIMED_PASSES = 5

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Blocks from the object store are read-only; the tower never writes to its input.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


Boxes = Sequence[torch.Tensor] | None
"""(K, 4) float32 boxes of each image, in fractions of its width and height; None: the whole image gives its one
vector."""


class TorchEmbedder:
    """`tower` maps normalised (N, 3, H, W) to (N, dim); it is moved to `device` and made inference-only here.

    `embed_regions` is for towers that take regions too, as those of timm and open_clip do with pooling `avg`.
    """

    backend = "torch"

    def __init__(
        self,
        tower: torch.nn.Module,
        preprocess: Preprocess,
        runtime: Runtime,
    ) -> None:
        self.device = torch.device(runtime.device)
        self.batch_size = runtime.images_per_pass
        self._size = (preprocess.height, preprocess.width)
        self.dtype = DTYPES[runtime.precision]
        self.takes_regions = hasattr(tower, "check_regions")
        if self.dtype == torch.float32:
            # cuDNN would round the inputs of convolutions to TF32's 10 bits of mantissa; matmul does so only if asked.
            torch.backends.cudnn.allow_tf32 = False
        # Weights in bf16 beat autocast on transformers (2.1x against 0.9x of float32 on this CPU); batch norm
        # needs its statistics in float32, and there autocast is the faster form too.
        has_batch_norm = any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in tower.modules())
        self.autocast = has_batch_norm and self.dtype != torch.float32
        tower = tower.eval().requires_grad_(False).to(self.device)
        _to_channels_last(tower)
        if not self.autocast:
            tower = tower.to(self.dtype)
        self.tower: torch.nn.Module = tower
        shape = (1, 3, 1, 1)
        self.shift = torch.tensor(preprocess.mean, device=self.device).mul(255).view(shape)
        self.scale = torch.tensor(preprocess.std, device=self.device).mul(255).reciprocal().view(shape)
        self.num_threads = runtime.num_threads
        self._limit = BatchLimit()
        self.passes = Lent(range(runtime.concurrency))
        if runtime.batch_size == "auto":
            self.try_batches()
        if runtime.compile:
            # After the trial: torch would compile the model for each size that is tried.
            self.tower = torch.compile(tower)  # type: ignore[assignment]
        self.engine = Engine(_GpuFeed(self).launch) if self.device.type == "cuda" else None

    def try_batches(self) -> None:
        """On a GPU, take the batch size with which this one is fastest from now on; some seconds."""
        if self.device.type == "cuda":
            self.batch_size = fastest_batch(self._seconds)
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _seconds(self, images: int) -> float | None:
        """Of one forward pass; None where the device has not the memory for it."""
        try:
            pixels_NHWC = torch.zeros((images, *self._size, 3), dtype=torch.uint8, device=self.device)
            # Libraries choose their kernels in a first pass.
            self._run_tower(pixels_NHWC, None)
            started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            started.record()  # type: ignore[no-untyped-call]
            for _ in range(_TIMED_PASSES):
                self._run_tower(pixels_NHWC, None)
            ended.record()  # type: ignore[no-untyped-call]
            ended.synchronize()  # type: ignore[no-untyped-call]
        except torch.OutOfMemoryError:
            return None
        milliseconds: float = started.elapsed_time(ended)  # type: ignore[no-untyped-call]
        return milliseconds / 1000 / _TIMED_PASSES

    def embed(self, pixels_NHWC: np.ndarray) -> np.ndarray:
        """From (N, H, W, 3) uint8 to (N, dim) float32, in micro-batches of `batch_size`."""
        return self._embed(pixels_NHWC, None)

    def embed_regions(self, pixels_NHWC: np.ndarray, boxes: Sequence[np.ndarray]) -> np.ndarray:
        """From (N, H, W, 3) uint8 and, for each image, (K, 4) boxes in fractions of its width and height, to (sum of K,
        dim) float32: one forward pass an image, image by image in the order of its boxes."""
        return self._embed(pixels_NHWC, [torch.from_numpy(each.astype(np.float32)) for each in boxes])

    def _embed(self, pixels_NHWC: np.ndarray, boxes: Boxes) -> np.ndarray:
        if not len(pixels_NHWC):
            raise ValueError("no images to embed")
        if self.engine:
            return self.engine.run(list(self._micro_batches(pixels_NHWC, boxes)))
        with self.passes.one():
            parts = [
                self.forward(torch.from_numpy(part), some) for part, some in self._micro_batches(pixels_NHWC, boxes)
            ]
            return torch.cat(parts).numpy()

    def _micro_batches(self, pixels_NHWC: np.ndarray, boxes: Boxes) -> Iterator[tuple[np.ndarray, Boxes]]:
        for start in range(0, len(pixels_NHWC), self.batch_size):
            batch = slice(start, start + self.batch_size)
            yield pixels_NHWC[batch], None if boxes is None else boxes[batch]

    def forward(self, pixels_NHWC: torch.Tensor, boxes: Boxes) -> torch.Tensor:
        """From uint8 on the device to float32 vectors on the device, in smaller parts where memory does not suffice.
        Raises what says so where one image alone is too much."""
        parts: list[torch.Tensor] = []
        start, count = 0, len(pixels_NHWC)
        while start < count:
            images = self._limit.of(count - start)
            part = slice(start, start + images)
            try:
                parts.append(self._run(pixels_NHWC[part], None if boxes is None else boxes[part]))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                note_kernels(error)
                if images == 1:
                    raise
            else:
                start += images
                self._limit.passed(images, self.batch_size)
                continue
            # Not in the handler: there the traceback still holds the tensors of what failed.
            self._limit.failed(images)
            torch.cuda.empty_cache()
            if self.device.type == "cpu":
                give_back_at_once()
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _run(self, pixels_NHWC: torch.Tensor, boxes: Boxes) -> torch.Tensor:
        if self.device.type != "cpu":
            return self._run_tower(pixels_NHWC, boxes)
        return where_kernels_are_made(partial(self._run_here, pixels_NHWC, boxes))

    def _run_here(self, pixels_NHWC: torch.Tensor, boxes: Boxes) -> torch.Tensor:
        """In a thread that may be new."""
        # A setting of the thread that runs the pass, and of threads started later.
        if self.num_threads is not None and torch.get_num_threads() != self.num_threads:
            torch.set_num_threads(self.num_threads)
        with torch.inference_mode():
            return self._run_tower(pixels_NHWC, boxes)

    def _run_tower(self, pixels_NHWC: torch.Tensor, boxes: Boxes) -> torch.Tensor:
        x_NCHW = pixels_NHWC.permute(0, 3, 1, 2).to(torch.float32).sub_(self.shift).mul_(self.scale)
        with torch.autocast(self.device.type, self.dtype, enabled=self.autocast):
            x_NCHW = x_NCHW if self.autocast else x_NCHW.to(self.dtype)
            regions = () if boxes is None else (_rois(boxes).to(self.device),)
            vectors: torch.Tensor = self.tower(x_NCHW, *regions)
        return vectors.to(torch.float32)


class _GpuFeed:
    """Copies micro-batches to a GPU on a stream of its own, through pinned memory that is kept, and the vectors back
    into pinned memory. Launches are made by one thread alone."""

    def __init__(self, embedder: TorchEmbedder) -> None:
        self._embedder = embedder
        self._copies = torch.cuda.Stream(embedder.device)  # type: ignore[no-untyped-call]
        self._pinned = [_Pinned() for _ in range(AHEAD)]
        self._launched = 0

    @torch.inference_mode()
    def launch(self, batch: tuple[np.ndarray, Boxes]) -> Finish:
        """Start a micro-batch. What it gives waits for the vectors."""
        pixels_NHWC, boxes = batch
        compute = torch.cuda.current_stream(self._embedder.device)
        pinned = self._pinned[self._launched % AHEAD]
        # What was copied out of this memory before has been waited for: no more than AHEAD are on the device.
        buffer = pinned.holding(pixels_NHWC)
        try:
            vectors, copied = self._start(buffer, boxes, compute)
        except BaseException:
            # The same memory is written next: by then nothing may be copied out of it any more.
            self._copies.synchronize()
            raise
        self._launched += 1

        def finish() -> np.ndarray:
            copied.synchronize()
            return vectors.numpy().copy()

        return finish

    def _start(
        self, buffer: torch.Tensor, boxes: Boxes, compute: torch.cuda.Stream
    ) -> tuple[torch.Tensor, torch.cuda.Event]:
        """(vectors in pinned memory, what tells that they are there)."""
        with torch.cuda.stream(self._copies):
            on_device = buffer.to(self._embedder.device, non_blocking=True)
        compute.wait_stream(self._copies)
        on_device.record_stream(compute)
        on_gpu = self._embedder.forward(on_device, boxes)
        # torch keeps pinned memory that is freed, and gives it out again.
        vectors = torch.empty(on_gpu.shape, dtype=on_gpu.dtype, pin_memory=True)
        vectors.copy_(on_gpu, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record(compute)
        return vectors, copied


class _Pinned:
    """Pinned memory for the pixels of one micro-batch."""

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)

    def holding(self, pixels_NHWC: np.ndarray) -> torch.Tensor:
        """The pixels, in memory that a copy to the device need not wait for."""
        if len(self._memory) < pixels_NHWC.size:
            self._memory = torch.empty(pixels_NHWC.size, dtype=torch.uint8, pin_memory=True)
        part = self._memory[: pixels_NHWC.size].view(pixels_NHWC.shape)
        np.copyto(part.numpy(), pixels_NHWC)
        return part


def _to_channels_last(tower: torch.nn.Module) -> None:
    """As `tower.to(memory_format=torch.channels_last)`, which fails on the 5-d weights of a Conv3d: timm's lambda
    networks have them."""
    for tensor in chain(tower.parameters(), tower.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.to(memory_format=torch.channels_last)


def _rois(boxes: Sequence[torch.Tensor]) -> torch.Tensor:
    """(K, 5): the index of the image in the batch, then the box."""
    places = torch.arange(len(boxes)).repeat_interleave(torch.tensor([len(each) for each in boxes]))
    return torch.cat([places[:, None].to(torch.float32), torch.cat(list(boxes))], 1)
