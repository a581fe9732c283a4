"""Trains a head on vectors that are there, by rows that are held out, as a task of `pipelines/steps`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipelines.steps.batches import Batches
from pipelines.steps.recipe import StepRecipe
from pipelines.steps.task import HeldOutLook
from pipelines.steps.workers import Workers
from pipelines.training.judged import quick_score
from pipelines.training.losses import captioned, contrastive, like_full, nested
from pipelines.training.rows import TrainingRows

if TYPE_CHECKING:
    from torch import Tensor

Objective = Literal["labels", "pairs", "captions", "self"]
TEMPERATURES: dict[Objective, float] = {"labels": 0.1, "pairs": 0.1, "captions": 0.05, "self": 0.05}
EVALUATE_EVERY = 25
"""Steps from one look at the held-out rows, and one checkpoint, to the next."""
HELD_OUT = 1024
"""Rows by which training is stopped, at most."""
START_ROWS = 65_536
"""Rows that the head before training is of, at most."""


@dataclass(frozen=True, kw_only=True)
class HeadRecipe:
    """All that decides the head, beside the rows."""

    objective: Objective
    dims: tuple[int, ...]
    """Lengths to be cut to, the longest first, which is the head's own."""
    hidden: int
    """Units of the hidden layer; 0 for none."""
    batch: int
    steps: int
    """At most."""
    patience: int
    """Evaluations without a lower loss on the held-out rows after which training ends."""
    learning_rate: float
    weight_decay: float
    seed: int


def starting_head(vectors_ND: np.ndarray, recipe: HeadRecipe) -> dict[str, np.ndarray]:
    """The head before training: the first K principal directions of (N, D) float32 vectors, and a hidden layer that
    gives nothing. Where the vectors vary in fewer directions, the rest are any that stand at right angles."""
    wide = vectors_ND.astype(np.float64)
    mean = wide.mean(axis=0)
    centred = wide - mean
    directions_DD = np.linalg.eigh(centred.T @ centred)[1].T[::-1]
    tensors = {"mean": mean, "weight": directions_DD[: recipe.dims[0]].astype(np.float32)}
    if recipe.hidden:
        scale = float(np.sqrt(2 / max((centred**2).sum(axis=1).mean(), 1e-12)))
        random = np.random.default_rng([recipe.seed, 3])
        tensors |= {
            "hidden": (scale * random.standard_normal((recipe.hidden, wide.shape[1]))).astype(np.float32),
            "bias": np.zeros(recipe.hidden, np.float32),
            "output": np.zeros((recipe.dims[0], recipe.hidden), np.float32),
        }
    return tensors


@dataclass(frozen=True)
class HeadPlan:
    """What decides a training of a head on rows: the same on every worker."""

    recipe: HeadRecipe
    train: np.ndarray
    """Places of the rows to train on."""
    held: np.ndarray
    """Of those to stop by."""
    start: dict[str, np.ndarray]
    """The head before training."""

    def head(self, differences: Mapping[str, "Tensor"]) -> dict[str, np.ndarray]:
        """The tensors of the artifact."""
        return {
            name: each + differences[name].numpy() if name in differences else each for name, each in self.start.items()
        }

    def steps(self) -> StepRecipe:
        recipe = self.recipe
        return StepRecipe(
            steps=recipe.steps,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            seed=recipe.seed,
            look_every=EVALUATE_EVERY,
            patience=recipe.patience,
        )


def plan_head(rows: TrainingRows, train: np.ndarray, held: np.ndarray, recipe: HeadRecipe) -> HeadPlan:
    """From places of the rows to train on and to stop by."""
    some = np.random.default_rng([recipe.seed, 5]).permutation(len(train))[:START_ROWS]
    start = starting_head(rows.vectors(train[np.sort(some)]), recipe)
    fewer = np.sort(np.random.default_rng([recipe.seed, 4]).permutation(held)[:HELD_OUT])
    return HeadPlan(recipe, train, fewer, start)


class HeadTask:
    """The training of a head, on one worker: differences from the start are trained, so that weight decay draws the
    head back to the principal directions (Li et al. 2018, "Explicit inductive bias for transfer learning", their
    L2-SP), not to nothing.

    Of several workers each has the vectors of the places that leave its rank when divided by their number.
    """

    def __init__(self, plan: HeadPlan, rows: TrainingRows, workers: Workers) -> None:
        import torch

        if workers.size > 1:
            places = np.concatenate([plan.train, plan.held])
            rows = rows.held_by(places[places % workers.size == workers.rank])
        self.plan, self.rows, self.workers = plan, rows, workers
        recipe = plan.recipe
        labels = (
            rows.labels[plan.train] if recipe.objective in ("labels", "pairs") and rows.labels is not None else None
        )
        self.batches = Batches(rows=plan.train, labels=labels, size=recipe.batch, seed=recipe.seed)
        self.start = {name: torch.from_numpy(each).to(workers.device) for name, each in plan.start.items()}
        zeros = {
            name: torch.zeros(each.shape, device=each.device) for name, each in self.start.items() if name != "mean"
        }
        self.module = torch.nn.ParameterDict(zeros)

    def loss(self, step: int) -> "Tensor":
        return self._loss(self.batches.at(step))

    def ids(self, step: int) -> list[str]:
        found: list[str] = self.rows.ids.take(self.batches.at(step)).to_pylist()
        return found

    def look(self) -> HeldOutLook:
        """The loss on the held-out rows, and how well the shortest vectors do."""
        held = self.plan.held
        loss = float(self._loss(held))
        made = self._all(held, lambda mine: self._applied(self.rows.vectors(mine)))[:, : self.plan.recipe.dims[-1]]
        full = self._all(held, self._full).cpu().numpy()
        figures = quick_score(self.rows, held, made.cpu().numpy(), full)
        return HeldOutLook(loss, {"held_out_loss": loss, **figures})

    def _loss(self, places: np.ndarray) -> "Tensor":
        recipe, rows = self.plan.recipe, self.rows
        temperature = TEMPERATURES[recipe.objective]
        out = self._all(places, lambda mine: self._applied(rows.vectors(mine)))
        if recipe.objective == "self":
            full = self._all(places, lambda mine: self._on_device(rows.units(mine)))
            return nested((out,), recipe.dims, lambda units: like_full(units, full, temperature))
        if recipe.objective == "captions":
            groups = self._on_device(rows.groups[places])
            texts = self._all(places, lambda mine: self._applied(rows.texts(mine)))
            return nested((out, texts), recipe.dims, lambda one, two: captioned(one, two, groups, temperature))
        assert rows.labels is not None
        labels = self._on_device(rows.labels[places])
        return nested((out,), recipe.dims, lambda units: contrastive(units, labels, temperature))

    def _all(self, places: np.ndarray, make: Callable[[np.ndarray], "Tensor"]) -> "Tensor":
        """(N, ...): what each worker makes of those of the places whose vectors it has, in the order of the places."""
        size = self.workers.size
        if size == 1:
            return make(places)
        parts = [np.flatnonzero(places % size == rank) for rank in range(size)]
        gathered = self.workers.gather(make(places[parts[self.workers.rank]]))
        return gathered[self._on_device(np.argsort(np.concatenate(parts)))]

    def _applied(self, vectors_ND: np.ndarray) -> "Tensor":
        import torch

        now = {name: self.start[name] + each for name, each in self.module.items()}
        centred = self._on_device((vectors_ND - self.plan.start["mean"]).astype(np.float32))
        out = centred @ now["weight"].T
        if "hidden" in now:
            out = out + torch.relu(centred @ now["hidden"].T + now["bias"]) @ now["output"].T
        found: Tensor = out
        return found

    def _full(self, places: np.ndarray) -> "Tensor":
        return self._on_device(self.rows.vectors(places))

    def _on_device(self, values: np.ndarray) -> "Tensor":
        import torch

        return torch.from_numpy(values).to(self.workers.device)
