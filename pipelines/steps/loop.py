"""The loop of steps, as every worker runs it: loss, gradient, AdamW, a look at held-out rows, a checkpoint."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from operators.base.errors import UserError
from pipelines.steps.checkpoint import TrainingState
from pipelines.steps.optimizer import adamw, moments_of
from pipelines.steps.recipe import StepRecipe
from pipelines.steps.spread import like, local, spread_module, whole
from pipelines.steps.task import StepTask
from pipelines.steps.workers import Workers

PILOT_STEPS = 3
"""Steps that are timed before training begins; the first of them, which is slower, does not count."""
_SHOWN_IDS = 10


@dataclass(frozen=True)
class StepPilot:
    """What a training will cost, measured on this machine before it begins."""

    seconds_a_step: float
    step: int
    """Where it begins: that of the checkpoint."""
    parameters: int
    """Numbers that are trained."""
    bf16: bool
    device: str
    """As torch names it, such as `cpu`."""
    history: list[dict[str, float]]
    """Of the looks so far: of the checkpoint, or of the first look."""


@dataclass(frozen=True)
class StepEars:
    """Who is told what. Neither may raise."""

    on_start: Callable[[StepPilot], None] = lambda pilot: None
    """Before the first step, and once more whenever workers begin anew."""
    on_look: Callable[[dict[str, float]], None] = lambda entry: None
    """The entry of the history at each look, once its checkpoint is written."""


class NotFiniteError(UserError):
    """A loss or a gradient is no number, on whichever worker; raised on all of them."""


def run_steps(
    task: StepTask,
    recipe: StepRecipe,
    workers: Workers,
    state: TrainingState | None,
    keep: Callable[[TrainingState], None],
    ears: StepEars,
    *,
    sharded: bool = False,
) -> TrainingState:
    """From a state, or from the beginning, to the end, which is the same from whichever state of it. `keep` writes a
    checkpoint. The state is whole on the first worker. Raises `NotFiniteError` on all workers where a loss or a
    gradient is not finite, with the step and the ids of its rows."""
    loop = _Loop(task, recipe, workers, keep, ears, sharded)
    with _deterministic(workers):
        return loop.run(state)


class _Loop:
    def __init__(
        self,
        task: StepTask,
        recipe: StepRecipe,
        workers: Workers,
        keep: Callable[[TrainingState], None],
        ears: StepEars,
        sharded: bool,
    ) -> None:
        self.task, self.recipe, self.workers, self.keep, self.ears = task, recipe, workers, keep, ears
        self.step_module = spread_module(task, workers, sharded)
        named = dict(task.module.named_parameters())
        self.parameters = {name: each for name, each in named.items() if each.requires_grad}
        self.buffers = {name: each for name, each in task.module.state_dict().items() if name not in named}
        self.adam = adamw(self.parameters, recipe)

    def run(self, state: TrainingState | None) -> TrainingState:
        mine = -1.0 if state is None else float(state.step)
        if self.workers.any(self.workers.first([mine]) != [mine]):
            raise OSError("the workers do not see the same checkpoint: name a place that all of them reach")
        begin = self._state(0) if state is None else state
        seconds = 0.0 if self._is_over(begin) else self._pilot(begin.step)
        self._put(begin)
        if state is None:
            self._look(begin, loss=None)
        if self.workers.rank == 0:
            pilot = StepPilot(
                seconds_a_step=seconds,
                step=begin.step,
                parameters=sum(each.numel() for each in self.parameters.values()),
                bf16=self.workers.bf16,
                device=str(self.workers.device),
                history=list(begin.history),
            )
            self.ears.on_start(pilot)
        return self._go_on(begin)

    def _is_over(self, state: TrainingState) -> bool:
        recipe = self.recipe
        return state.step >= recipe.steps or state.step - state.best_step >= recipe.patience * recipe.look_every

    def _go_on(self, state: TrainingState) -> TrainingState:
        recipe = self.recipe
        while not self._is_over(state):
            loss = self._step(state.step)
            state.step += 1
            if state.step % recipe.look_every == 0 or state.step == recipe.steps:
                self._take(state)
                self._look(state, loss)
                if self.workers.rank == 0:
                    self.keep(state)
                    self.ears.on_look(state.history[-1])
        return state

    def _step(self, step: int) -> float:
        import torch

        loss = self._gradients(step)
        if self.recipe.clip is not None:
            torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.recipe.clip)
        for group in self.adam.param_groups:
            group["lr"] = self.recipe.rate_at(step) * group["factor"]
        self.adam.step()
        return loss

    def _gradients(self, step: int) -> float:
        """The loss of the step; its gradient is then in the parameters."""
        import torch

        random = np.random.SeedSequence([self.recipe.seed, 7, step, self.workers.rank]).generate_state(1, np.uint64)
        torch.manual_seed(int(random[0]))
        self.adam.zero_grad()
        loss = self.step_module(step)
        loss.backward()
        value = float(loss.detach())
        if self.workers.any(not np.isfinite(value) or not self._finite()):
            ids = list(self.task.ids(step))
            more = f" and {len(ids) - _SHOWN_IDS:,} others" if len(ids) > _SHOWN_IDS else ""
            raise NotFiniteError(
                f"step {step}: the loss is {value}, or its gradient is not finite; nothing of it was stored. The "
                f"batch: {', '.join(ids[:_SHOWN_IDS])}{more}. Inputs of very different sizes or a learning rate that "
                f"is too high (now {self.recipe.learning_rate:g}) do this: lower --learning-rate"
            )
        return value

    def _finite(self) -> bool:
        for name, each in self.parameters.items():
            if each.grad is None:
                raise RuntimeError(f"{name} has no part in the loss; freeze it (requires_grad=False)")
            if not bool(local(each.grad).isfinite().all()):
                return False
        return True

    def _pilot(self, step: int) -> float:
        """Seconds of a step. Parameters are not moved; the state, put in after it, brings the buffers back."""
        seconds = []
        for _ in range(PILOT_STEPS):
            began = time.monotonic()
            self._gradients(step)
            seconds.append(time.monotonic() - began)
        self.adam.zero_grad()
        return float(np.mean(seconds[1:]))

    def _look(self, state: TrainingState, loss: float | None) -> None:
        """The state keeps the tensors if the score is the lowest so far."""
        import torch

        with torch.no_grad():
            look = self.step_module(None)
        score, *figures = self.workers.first([look.score, *look.figures.values()])
        entry = {"step": float(state.step), **dict(zip(look.figures, figures, strict=True))}
        state.history.append(entry if loss is None else {**entry, "loss": loss})
        if score < state.best_score:
            state.best, state.best_score, state.best_step = state.tensors, score, state.step

    def _state(self, step: int) -> TrainingState:
        state = TrainingState(step=step, tensors={}, moments={}, best={}, best_score=float("inf"), best_step=step)
        self._take(state)
        state.best = state.tensors
        return state

    def _take(self, state: TrainingState) -> None:
        """Put what the module holds into the state; all workers must."""
        state.tensors = {name: whole(each) for name, each in {**self.parameters, **self.buffers}.items()}
        state.moments = moments_of(self.adam, self.parameters)

    def _put(self, state: TrainingState) -> None:
        """Put the state into the module and its optimizer."""
        import torch

        with torch.no_grad():
            for name, each in {**self.parameters, **self.buffers}.items():
                each.copy_(like(state.tensors[name], each))
        for name, each in self.parameters.items():
            self.adam.state[each] = {
                "step": torch.tensor(float(state.step)),
                "exp_avg": like(state.moments[f"mean.{name}"], each),
                "exp_avg_sq": like(state.moments[f"square.{name}"], each),
            }


@contextmanager
def _deterministic(workers: Workers) -> Iterator[None]:
    """On CPUs the same sums always; on GPUs where torch has a way."""
    import torch

    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=workers.device.type != "cpu")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
