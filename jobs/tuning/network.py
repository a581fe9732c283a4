"""The network that is tuned: found, opened, and tried with a step of few images before anything is read."""

from typing import TYPE_CHECKING

from jobs.session.progress import Progress
from jobs.tuning.config import TuneConfig
from operators.base.errors import UserError
from operators.models.load import describe
from pipelines.steps.workers import device_for
from pipelines.training_cost.measure import free_memory, measure_step, tensors_bytes
from pipelines.training_cost.predict import TrainingSize, check_fits
from pipelines.tuning.task import TunedNetwork

if TYPE_CHECKING:
    from torch import Tensor

FAMILIES = ("timm", "open_clip", "efficientnet-lite", "saved")
"""Of models whose networks are trained here."""


def named_network(config: TuneConfig, progress: Progress) -> TunedNetwork:
    """The model, described. Raises `UserError` for one that cannot be trained so."""
    [asked] = config.columns.values()
    spec = asked.spec()
    if spec.family not in FAMILIES:
        raise UserError(
            f"model {spec.name!r} has no weights that can be trained; use efficientnet-lite0, a model of timm or "
            "open_clip, or one of your own"
        )
    progress.phase(f"opening {spec.name}: libraries and weights")
    model = describe(spec, config.storage)
    if config.objective == "captions" and not model.text:
        raise UserError(f"model {spec.name!r} has no text tower, and --captions needs one; use --label or --pairs")
    return TunedNetwork(
        model=model,
        trainable=config.trained,
        with_text=config.objective == "captions",
        freeze_text=config.freeze_text,
        seed=config.seed,
        gradient_checkpointing=config.gradient_checkpointing,
        storage=config.storage,
    )


def checked_network(config: TuneConfig, network: TunedNetwork, progress: Progress) -> list[str]:
    """The notes about how it is trained. Raises `UserError` where it cannot be, or a step does not fit into memory."""
    import torch

    tower, notes = network.build()
    progress.phase("trying a step of few images")
    device, preprocess = device_for(config.device), network.model.preprocess
    tower.to(device)
    parameters = [each for each in tower.parameters() if each.requires_grad]
    texts = network.with_text and not network.freeze_text

    def forward(images: int) -> "Tensor":
        out: Tensor = tower(torch.zeros(images, 3, preprocess.height, preprocess.width, device=device)).sum()
        return out + tower.embed_tokens(tower.tokenizer(["word"] * images).to(device)).sum() if texts else out

    size = TrainingSize(
        batch=config.batch,
        steps=config.steps,
        held_bytes=tensors_bytes([*tower.parameters(), *tower.buffers()]),
        trained_bytes=tensors_bytes(parameters),
        workers=1 if device.type == "cuda" else config.workers,
        on_gpu=device.type == "cuda",
    )
    lower = "Lower --batch, train less with --trainable, or give --gradient-checkpointing"
    check_fits(measure_step(forward, parameters), size, free_memory(device), lower=lower)
    return notes
