"""Makes a network ready to be trained: what moves, what stands still, and how adapters come in and out."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from operators.base.errors import UserError
from operators.base.process_settings import give_back_at_once
from operators.models.saved.tower import OwnTower, Projection
from operators.models.spec import ModelError
from operators.models.tuning.blocks import blocks_of
from operators.models.tuning.trainable import Trainable

_ALPHA = 2
"""LoRA's alpha, as a multiple of the rank."""


def make_trainable(
    name: str, tower: OwnTower, trainable: Trainable, *, dim: int, seed: int, text: bool = False
) -> list[str]:
    """Set which parameters of the tower are trained, put in what is trained beside it, and give the notes to be told.

    `dim` is the length of the image tower's vectors; `text`: whether the text tower is trained in the same way.
    Everything stays in evaluation mode, so that batch norms keep their statistics and dropout is off, but with `all`,
    where it is in training mode. Raises `ModelError` for a network that cannot be trained so, `UserError` without the
    extra that is needed.
    """
    tower.requires_grad_(False).eval()
    torch.manual_seed(seed)
    towers = ["image", *(["text"] if text else [])]
    if trainable.part == "head":
        _add_head(name, tower, dim)
    elif trainable.part == "last":
        for each in towers:
            _open_last(name, getattr(tower, each), trainable.number)
    elif trainable.part == "lora":
        for each in towers:
            setattr(tower, each, _with_adapters(name, getattr(tower, each), trainable.number))
    else:
        for each in towers:
            getattr(tower, each).requires_grad_(True)
        if tower.projection is not None:
            tower.projection.requires_grad_(True)
    return set_mode(tower, trainable)


def set_mode(tower: OwnTower, trainable: Trainable) -> list[str]:
    """Training or evaluation mode as `make_trainable` says; the notes about it."""
    tower.train(trainable.part == "all")
    norms = sum(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in tower.modules())
    if not norms:
        return []
    if trainable.part == "all":
        return [f"{norms} batch norms take the statistics of each batch, and learn new ones"]
    return [f"{norms} batch norms keep the statistics that they have"]


def without_adapters(tower: OwnTower) -> OwnTower:
    """The tower with adapters merged into the weights beside them; any other is given back as it is."""
    for each in ("image", "text"):
        module: Any = getattr(tower, each)
        if hasattr(module, "merge_and_unload"):
            setattr(tower, each, module.merge_and_unload(safe_merge=True))
    return tower


def checkpoint_gradients(tower: OwnTower) -> bool:
    """Have the image tower compute inner values anew on the way back instead of keeping them; False where its network
    offers no such thing."""
    for module in tower.image.modules():
        switch: Callable[..., Any] | None = getattr(module, "set_grad_checkpointing", None)
        if switch is None:
            continue
        try:
            switch(True)
        except (AssertionError, NotImplementedError):
            # What timm raises for a network that has none.
            return False
        give_back_at_once()
        return True
    return False


def freeze_unused(tower: OwnTower, losses: Sequence[torch.Tensor]) -> None:
    """Freeze parameters without a part in any of the values: a last block may hold what its pooling passes by."""
    torch.stack([each.sum() for each in losses]).sum().backward()  # type: ignore[no-untyped-call]
    for parameter in tower.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.requires_grad_(False)
        parameter.grad = None


def _add_head(name: str, tower: OwnTower, dim: int) -> None:
    """A linear map that begins as none: its vectors are the tower's, at unit length."""
    if tower.projection is not None:
        raise ModelError(
            f"model {name!r}: has a projection of its own already; train it further with --trainable last:N, lora:R or "
            "all, or begin from its base"
        )
    tower.projection = Projection(dim, dim, normalize=True)
    nn.init.eye_(tower.projection.weight)


def _open_last(name: str, network: nn.Module, number: int) -> None:
    blocks = blocks_of(name, network)
    if number > len(blocks):
        raise ModelError(f"model {name!r}: has {len(blocks)} blocks or stages; --trainable last:{number} is too many")
    wanted = {each for block in blocks[-number:] for each in block}
    for each, parameter in network.named_parameters():
        parameter.requires_grad_(each in wanted)


def _with_adapters(name: str, network: nn.Module, rank: int) -> nn.Module:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise UserError(
            "--trainable lora:R needs peft: pip install 'pixlake[train]', or take --trainable last:N or head"
        ) from None
    targets = _linears(name, network)
    config = LoraConfig(r=rank, lora_alpha=_ALPHA * rank, lora_dropout=0.0, bias="none", target_modules=targets)
    adapted: nn.Module = get_peft_model(network, config)  # type: ignore[arg-type]
    return adapted


def _linears(name: str, network: nn.Module) -> list[str]:
    """The linear layers of attention and MLPs, which are in numbered blocks; a projection behind them stays what it is.
    open_clip's attention is taken as a whole: it asks the weight of its output layer without calling the layer, and an
    adapter there would do nothing."""
    whole = [each for each, module in network.named_modules() if isinstance(module, nn.MultiheadAttention)]
    linear = [
        each
        for each, module in network.named_modules()
        if isinstance(module, nn.Linear) and each.rpartition(".")[0] not in whole
    ]
    found = [each for each in (*whole, *linear) if any(part.isdecimal() for part in each.split("."))]
    if not found:
        raise ModelError(
            f"model {name!r}: has no linear layers of attention or MLPs for adapters; use --trainable last:N"
        )
    return sorted(found)
