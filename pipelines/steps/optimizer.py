"""AdamW over named parameters, and its moments as tensors of a checkpoint."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.steps.recipe import StepRecipe
from pipelines.steps.spread import whole

if TYPE_CHECKING:
    from torch import Tensor


def adamw(parameters: Mapping[str, "Tensor"], recipe: StepRecipe) -> Any:
    """A group for each parameter, with `factor` for its rate."""
    import torch

    groups = [
        {
            "params": [each],
            "factor": recipe.factor_of(name),
            "weight_decay": recipe.weight_decay if recipe.decays_vectors or each.ndim > 1 else 0.0,
        }
        for name, each in parameters.items()
    ]
    # One parameter after the other: the same sums whichever parameters there are.
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, foreach=False)


def moments_of(adam: Any, parameters: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """`mean.NAME` and `square.NAME`; zeros before the first step. All workers must ask."""
    import torch

    found = {}
    for name, each in parameters.items():
        held = adam.state.get(each) or {"exp_avg": torch.zeros_like(each), "exp_avg_sq": torch.zeros_like(each)}
        found[f"mean.{name}"], found[f"square.{name}"] = whole(held["exp_avg"]), whole(held["exp_avg_sq"])
    return found
