"""What a training will take before it begins: seconds and bytes, from some steps of few images; and whether it fits."""

from dataclasses import dataclass

from operators.base.errors import UserError

GROWTH = 1.25
"""What a step takes of memory, as a multiple of what its tensors hold at the peak: the workspace of convolutions and
products, and what the allocator cannot use again. With EfficientNet-Lite0, ResNet-18 and ViT-Ti/16 on a CPU, 16 images,
that was 0.8 to 1.3 times as much as was counted."""
HOST_COPIES = 7
"""Times that the trained numbers are held beside themselves: their gradient, AdamW's two moments, and what a checkpoint
keeps, which are numbers, moments and the best numbers so far, as one more."""
DEVICE_COPIES = 3
"""The same on a GPU: gradient and moments; a checkpoint is the host's."""


@dataclass(frozen=True, kw_only=True)
class StepMeasure:
    """A step of `n` images takes `fixed` and `n` times `each`: seconds, and bytes of tensors at its peak, the
    gradients of what is trained not among them."""

    fixed_s: float
    each_s: float
    fixed_bytes: float
    each_bytes: float

    @classmethod
    def through(cls, first: tuple[int, float, float], second: tuple[int, float, float]) -> "StepMeasure":
        """The straight line through two steps, each (images, seconds, bytes), the second of more images. Steps whose
        times say that more images take no longer, as noise does, count as if each image took its share."""
        (few, few_s, few_bytes), (more, more_s, more_bytes) = first, second
        each_s = (more_s - few_s) / (more - few)
        if not 0 < each_s * more <= more_s:
            each_s = more_s / more
        each_bytes = max(0.0, (more_bytes - few_bytes) / (more - few))
        return cls(
            fixed_s=max(0.0, more_s - each_s * more),
            each_s=each_s,
            fixed_bytes=max(0.0, more_bytes - each_bytes * more),
            each_bytes=each_bytes,
        )


@dataclass(frozen=True, kw_only=True)
class TrainingSize:
    """How much is trained, and with how many images at a time."""

    batch: int
    """Images of a step, of all workers together."""
    steps: int
    held_bytes: int
    """Of all parameters and buffers that are in memory, trained or not."""
    trained_bytes: int
    """Of those that are trained."""
    workers: int = 1
    """Workers that share the memory that is asked for: those of this machine, or 1 on a GPU of its own."""
    on_gpu: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """What the whole training will take."""

    step_s: float
    seconds: float
    """Of all steps; looks at held-out rows come on top."""
    bytes: int
    """At the peak, beside what the process holds now."""
    network_bytes: int
    """Of them for gradients, moments and a checkpoint's copies, and the networks of the other workers."""
    images_bytes: int
    """Of them for the images of a step."""


def predict_cost(measure: StepMeasure, size: TrainingSize) -> TrainingCost:
    """Seconds and memory of a training, from a step that was measured before: its network is in memory already."""
    copies = DEVICE_COPIES if size.on_gpu else HOST_COPIES
    # The first worker's network is there; the others' are not.
    network = size.workers * copies * size.trained_bytes + (size.workers - 1) * size.held_bytes
    images = GROWTH * (size.workers * measure.fixed_bytes + size.batch * measure.each_bytes)
    step_s = measure.fixed_s + measure.each_s * size.batch
    return TrainingCost(
        step_s=step_s,
        seconds=step_s * size.steps,
        bytes=round(network + images),
        network_bytes=round(network),
        images_bytes=round(images),
    )


def most_images(measure: StepMeasure, size: TrainingSize, available: int) -> int:
    """The largest batch that fits into so many bytes; 0 where none does."""
    cost = predict_cost(measure, size)
    room = available - cost.network_bytes - GROWTH * size.workers * measure.fixed_bytes
    each = GROWTH * measure.each_bytes
    return max(0, int(room / each)) if each else (size.batch if room >= 0 else 0)


def check_fits(measure: StepMeasure, size: TrainingSize, available: int | None, *, lower: str) -> None:
    """Raises `UserError` where the training needs more memory than `available` bytes (None: not known), with the
    figures, the batch that would fit, and `lower`: what else makes it smaller, in the words of the verb's options."""
    cost = predict_cost(measure, size)
    if available is None or cost.bytes <= available:
        return
    where = "on the GPU" if size.on_gpu else "on this machine, or within its container's limit"
    most = most_images(measure, size, available)
    batch = f"a batch of {most:,} would fit" if most >= 2 else "no batch would fit"
    raise UserError(
        f"this training needs {in_gib(cost.bytes)} of memory and {in_gib(available)} are free {where}: "
        f"{in_gib(cost.images_bytes)} for a batch of {size.batch:,} images and {in_gib(cost.network_bytes)} for "
        f"gradients, moments and checkpoints of {in_gib(size.trained_bytes)} of trained numbers; {batch}. {lower}"
    )


def in_gib(size: float) -> str:
    """`3.2 GiB`, `410 MiB`."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.0f} MiB"
