"""All of the loop of steps that decides its result, beside the task."""

import math
from dataclasses import dataclass
from typing import Literal

Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True, kw_only=True)
class StepRecipe:
    """AdamW (Loshchilov and Hutter 2019) by steps."""

    steps: int
    """At most."""
    learning_rate: float
    weight_decay: float
    seed: int
    schedule: Schedule = "constant"
    """`cosine` falls from the rate to nothing over all steps (Loshchilov and Hutter 2017, without restarts)."""
    warmup: int = 0
    """Steps over which the rate rises, in a straight line."""
    clip: float | None = None
    """Largest norm of the gradient of all parameters together."""
    decays_vectors: bool = True
    """Whether weight decay is for parameters of one dimension too: biases, and the scales of normalisations."""
    look_every: int = 25
    """Steps from one look at held-out rows, and one checkpoint, to the next."""
    patience: int = 8
    """Looks without a lower score after which training ends."""
    rates: tuple[tuple[str, float], ...] = ()
    """(beginning of parameters' names, what their rate is multiplied by); the first that fits counts."""

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        rising = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.schedule == "constant":
            return self.learning_rate * rising
        passed = max(step - self.warmup, 0) / max(self.steps - self.warmup, 1)
        return self.learning_rate * rising * (1 + math.cos(math.pi * passed)) / 2

    def factor_of(self, name: str) -> float:
        """What the rate of a parameter of that name is multiplied by."""
        return next((factor for start, factor in self.rates if name.startswith(start)), 1.0)
