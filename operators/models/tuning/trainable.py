"""Which weights of a model are trained, as a user says it. Torch-free: the driver plans with it."""

import re
from dataclasses import dataclass
from typing import Literal

from operators.base.errors import UserError

TrainedPart = Literal["head", "last", "lora", "all"]


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """`head`: a linear map behind the frozen network. `last`: its last blocks, with what comes after them. `lora`:
    adapters of a rank on the linear layers of its attention and MLPs (Hu et al. 2021, "LoRA: Low-Rank Adaptation of
    Large Language Models"). `all`: everything."""

    part: TrainedPart
    number: int = 0
    """Of blocks, or the rank; 0 for `head` and `all`."""

    def __str__(self) -> str:
        return f"{self.part}:{self.number}" if self.number else self.part

    @property
    def learning_rate(self) -> float:
        """What it is trained with where nothing else is asked for: the fewer weights move, the faster they may."""
        rates: dict[TrainedPart, float] = {"head": 1e-3, "last": 3e-4, "lora": 5e-4, "all": 3e-5}
        return rates[self.part]


def parse_trainable(text: str) -> Trainable:
    """From `head`, `last:N`, `lora:R` or `all`. Raises `UserError` for anything else."""
    found = re.fullmatch(r"(head|all)|(last|lora):([1-9]\d{0,3})", text)
    if not found:
        raise UserError(f"{text!r}: write head, last:N (the last N blocks), lora:R (adapters of rank R) or all")
    if found[1]:
        return Trainable(part="head" if found[1] == "head" else "all")
    return Trainable(part="last" if found[2] == "last" else "lora", number=int(found[3]))
