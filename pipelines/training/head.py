"""Trains a head on vectors that are there: step by step, by rows that are held out, and from where it was stopped."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from operators.base.errors import UserError
from pipelines.training.batches import Batches
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
_SHOWN_IDS = 10


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


@dataclass
class TrainingState:
    """Where a training is. All of it is in a checkpoint."""

    step: int
    tensors: dict[str, np.ndarray]
    """Parameters, float32, as differences from the start."""
    moments: dict[str, np.ndarray]
    """`mean.NAME` and `square.NAME`, of AdamW."""
    best: dict[str, np.ndarray]
    """The parameters with the lowest loss on the held-out rows."""
    best_loss: float
    best_step: int
    history: list[dict[str, float]] = field(default_factory=list)
    """One entry for each evaluation."""


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


class HeadTraining:
    """One training: AdamW on differences from the start, so that its decay draws the head back to the principal
    directions (Li et al. 2018, "Explicit inductive bias for transfer learning", their L2-SP), not to nothing."""

    def __init__(self, rows: TrainingRows, train: np.ndarray, held: np.ndarray, recipe: HeadRecipe) -> None:
        self.rows, self.train, self.recipe = rows, train, recipe
        self.held = np.sort(np.random.default_rng([recipe.seed, 4]).permutation(held)[:HELD_OUT])
        by_label = recipe.objective in ("labels", "pairs") and rows.labels is not None
        labels = rows.labels[train] if by_label and rows.labels is not None else None
        self.batches = Batches(rows=train, labels=labels, size=recipe.batch, seed=recipe.seed)
        self.start: dict[str, np.ndarray] = {}

    def begin(self) -> TrainingState:
        """The state before the first step, with the loss on the held-out rows."""
        self._prepare()
        zero = {name: np.zeros_like(each) for name, each in self.start.items() if name != "mean"}
        moments = {f"{kind}.{name}": each.copy() for name, each in zero.items() for kind in ("mean", "square")}
        state = TrainingState(step=0, tensors=zero, moments=moments, best=zero, best_loss=np.inf, best_step=0)
        self._look(state, self._parameters(state), loss=None)
        return state

    def go_on(self, state: TrainingState, on_evaluation: Callable[[TrainingState], None]) -> TrainingState:
        """From a state to the end, which is the same from whichever of its states. Raises `UserError` where a loss is
        not finite, with the step and the ids of its rows."""
        import torch

        self._prepare()
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True)
        try:
            parameters = self._parameters(state)
            adam = self._optimizer(parameters, state)
            while state.step < self.recipe.steps and not self._done(state):
                loss = self._step(state.step, parameters, adam)
                state.step += 1
                if state.step % EVALUATE_EVERY == 0 or state.step == self.recipe.steps:
                    self._keep(state, parameters, adam)
                    self._look(state, parameters, loss)
                    on_evaluation(state)
        finally:
            torch.use_deterministic_algorithms(before)
        return state

    def head(self, differences: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The tensors of the artifact."""
        self._prepare()
        return {name: each + differences[name] if name in differences else each for name, each in self.start.items()}

    def _prepare(self) -> None:
        if not self.start:
            some = np.random.default_rng([self.recipe.seed, 5]).permutation(len(self.train))[:START_ROWS]
            self.start = starting_head(self.rows.vectors(self.train[np.sort(some)]), self.recipe)

    def _parameters(self, state: TrainingState) -> dict[str, "Tensor"]:
        import torch

        return {name: torch.tensor(each, requires_grad=True) for name, each in state.tensors.items()}

    def _optimizer(self, parameters: dict[str, "Tensor"], state: TrainingState) -> Any:
        import torch

        recipe = self.recipe
        adam = torch.optim.AdamW(
            list(parameters.values()), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, foreach=False
        )
        for name, each in parameters.items():
            adam.state[each] = {
                "step": torch.tensor(float(state.step)),
                "exp_avg": torch.tensor(state.moments[f"mean.{name}"]),
                "exp_avg_sq": torch.tensor(state.moments[f"square.{name}"]),
            }
        return adam

    def _step(self, step: int, parameters: dict[str, "Tensor"], adam: Any) -> float:
        places = self.batches.at(step)
        adam.zero_grad()
        loss = self._loss(places, parameters)
        loss.backward()  # type: ignore[no-untyped-call]
        value = float(loss.detach())
        if not np.isfinite(value) or not _finite_gradients(parameters):
            ids = ", ".join(self.rows.ids.take(places[:_SHOWN_IDS]).to_pylist())
            more = f" and {len(places) - _SHOWN_IDS:,} others" if len(places) > _SHOWN_IDS else ""
            raise UserError(
                f"step {step}: the loss is {value}, or its gradient is not finite; no head was stored. The batch: "
                f"{ids}{more}. Vectors of very different lengths or a learning rate that is too high "
                f"(now {self.recipe.learning_rate:g}) do this: lower --learning-rate"
            )
        adam.step()
        return value

    def _loss(self, places: np.ndarray, parameters: dict[str, "Tensor"]) -> "Tensor":
        import torch

        rows, recipe = self.rows, self.recipe
        temperature = TEMPERATURES[recipe.objective]
        out = self._applied(rows.vectors(places), parameters)
        if recipe.objective == "self":
            full = torch.from_numpy(rows.units(places))
            return nested((out,), recipe.dims, lambda units: like_full(units, full, temperature))
        if recipe.objective == "captions":
            assert rows.captions is not None
            groups = torch.from_numpy(rows.groups[places])
            texts = self._applied(rows.captions[places].astype(np.float32), parameters)
            return nested((out, texts), recipe.dims, lambda one, two: captioned(one, two, groups, temperature))
        assert rows.labels is not None
        labels = torch.from_numpy(rows.labels[places])
        return nested((out,), recipe.dims, lambda units: contrastive(units, labels, temperature))

    def _applied(self, vectors_ND: np.ndarray, parameters: dict[str, "Tensor"]) -> "Tensor":
        import torch

        now = {name: torch.from_numpy(self.start[name]) + each for name, each in parameters.items()}
        centred = torch.from_numpy((vectors_ND - self.start["mean"]).astype(np.float32))
        out = centred @ now["weight"].T
        if "hidden" in now:
            out = out + torch.relu(centred @ now["hidden"].T + now["bias"]) @ now["output"].T
        return out

    def _keep(self, state: TrainingState, parameters: dict[str, "Tensor"], adam: Any) -> None:
        state.tensors = {name: each.detach().numpy().copy() for name, each in parameters.items()}
        for name, each in parameters.items():
            state.moments[f"mean.{name}"] = adam.state[each]["exp_avg"].numpy().copy()
            state.moments[f"square.{name}"] = adam.state[each]["exp_avg_sq"].numpy().copy()

    def _look(self, state: TrainingState, parameters: dict[str, "Tensor"], loss: float | None) -> None:
        """The loss on the held-out rows, and how well the shortest vectors do; the state keeps the parameters if the
        loss is the lowest so far."""
        import torch

        with torch.no_grad():
            held = float(self._loss(self.held, parameters))
            made = self._applied(self.rows.vectors(self.held), parameters)[:, : self.recipe.dims[-1]].numpy()
        entry = {"step": float(state.step), "held_out_loss": held, **quick_score(self.rows, self.held, made)}
        state.history.append(entry if loss is None else {**entry, "loss": loss})
        if held < state.best_loss:
            state.best, state.best_loss, state.best_step = state.tensors, held, state.step

    def _done(self, state: TrainingState) -> bool:
        return state.step - state.best_step >= self.recipe.patience * EVALUATE_EVERY


def _finite_gradients(parameters: dict[str, "Tensor"]) -> bool:
    return all(each.grad is not None and bool(each.grad.isfinite().all()) for each in parameters.values())
