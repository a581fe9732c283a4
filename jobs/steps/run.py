"""Runs a training of steps for a job: in this process or on Ray, with what it says, writes and draws on its way."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from jobs.session.progress import Progress, duration
from jobs.session.ray_cluster import ray_cluster
from jobs.steps.plot import draw_history, figure_words
from operators.base.errors import UserError
from pipelines.run.cluster import ClusterConfig
from pipelines.steps.checkpoint import CheckpointPlace, TrainingState
from pipelines.steps.here import MakeTask, train_here
from pipelines.steps.loop import StepEars, StepPilot
from pipelines.steps.on_ray import train_on_ray
from pipelines.steps.recipe import StepRecipe
from pipelines.steps.workers import TrainingDevice, TrainingPrecision


class WorkersOptions(BaseModel):
    """Where a training runs, and what it leaves beside its result; a verb's config has these fields too, by inheriting.
    None of them is part of a recipe: they change a result by the order of sums alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(default=1, ge=1)
    """1 trains in this process, more on Ray Train."""
    device: TrainingDevice = "auto"
    """`auto` takes a GPU where there is one."""
    metrics: str | None = None
    """A local file that gets a line of JSON for each look at held-out rows."""
    plot: str | None = None
    """A local PNG of loss and held-out figures by step."""


class StepsOptions(WorkersOptions):
    """For trainings of models of images."""

    precision: TrainingPrecision = "float32"
    """Of the model's forward pass: `bf16`, or `auto`: `bf16` where the device does it natively."""
    sharded: bool = False
    """Of several workers each holds its part of parameters, gradients and moments (FSDP), not all (DDP)."""

    @model_validator(mode="after")
    def _check_there_are_several(self) -> Self:
        if self.sharded and self.workers == 1:
            raise ValueError("sharded: one worker holds the whole model; give workers (--workers), or leave it out")
        return self


def train_steps(
    make: MakeTask,
    recipe: StepRecipe,
    place: CheckpointPlace,
    options: WorkersOptions,
    cluster: ClusterConfig,
    progress: Progress,
) -> tuple[TrainingState, int | None]:
    """(the state at the end, the step of the checkpoint that it went on from). Says before the first step what it will
    cost, and at each look how far it is; writes the files of the options. Raises `UserError` where a loss is not
    finite, a file cannot be written or the cluster is too small; `OSError` where storage or workers fail."""
    if cluster.address is not None and options.workers == 1:
        raise UserError("cluster.address names a cluster, and one worker trains in this process: give --workers too")
    teller = _Teller(recipe, place, options, progress)
    of_models = options if isinstance(options, StepsOptions) else StepsOptions()
    how: dict[str, Any] = {"device": options.device, "precision": of_models.precision}
    progress.phase("importing torch")
    if options.workers == 1:
        state = train_here(make, recipe, place, teller.ears, **how)
    else:
        with ray_cluster(cluster, (), verbose=False):
            progress.phase(f"starting {options.workers} workers")
            how |= {"workers": options.workers, "sharded": of_models.sharded}
            state = train_on_ray(make, recipe, place, teller.ears, **how)
    if options.plot is not None:
        _write(Path(options.plot), "--plot", draw_history(state.history, state.best_step))
    return state, teller.resumed_at


class _Teller:
    def __init__(self, recipe: StepRecipe, place: CheckpointPlace, options: WorkersOptions, progress: Progress) -> None:
        self.recipe, self.place, self.options, self.progress = recipe, place, options, progress
        self.resumed_at: int | None = None
        self.starts = 0
        self.ears = StepEars(on_start=self.started, on_look=self.looked)
        self._rewrite([])
        if options.plot is not None and not Path(options.plot).absolute().parent.is_dir():
            raise UserError(f"--plot {options.plot}: there is no folder {Path(options.plot).parent}; make it first")

    def started(self, pilot: StepPilot) -> None:
        self.starts += 1
        if self.starts > 1:
            self.progress.note(f"a worker was lost; all go on from step {pilot.step:,}")
        elif pilot.step:
            self.resumed_at = pilot.step
            self.progress.note(f"going on from step {pilot.step:,} of {self.place.uri}")
        left = self.recipe.steps - pilot.step
        workers = f"{self.options.workers} workers" if self.options.workers > 1 else "one worker"
        self.progress.note(
            f"{pilot.parameters:,} numbers to train on {workers}, {pilot.device}, "
            f"{'bfloat16' if pilot.bf16 else 'float32'}: a step takes {pilot.seconds_a_step:.3g} s here, so "
            f"{duration(left * pilot.seconds_a_step)} for {left:,} steps at most, and the looks at held-out rows"
        )
        self._rewrite(pilot.history)
        self.progress.phase("training")

    def looked(self, entry: dict[str, float]) -> None:
        if self.options.metrics is not None:
            with Path(self.options.metrics).open("a") as file:
                file.write(f"{json.dumps(entry)}\n")
        step = int(entry["step"])
        self.progress.counted(as_words(entry, self.recipe.steps), step / self.recipe.steps)

    def _rewrite(self, history: Sequence[dict[str, float]]) -> None:
        if self.options.metrics is not None:
            text = "".join(f"{json.dumps(entry)}\n" for entry in history)
            _write(Path(self.options.metrics), "--metrics", text.encode())


def as_words(entry: dict[str, float], steps: int) -> str:
    """`step 25 of 2,000 at most: loss 4.2000; held out: loss 4.3000, 1-NN 0.8100`."""
    figures = {name.removeprefix("held_out_"): each for name, each in entry.items() if name.startswith("held_out_")}
    held = ", ".join(f"{figure_words(name)} {each:.4f}" for name, each in figures.items())
    return f"step {int(entry['step']):,} of {steps:,} at most: loss {entry['loss']:.4f}; held out: {held}"


def _write(path: Path, option: str, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UserError(f"{option} {path}: cannot write there: {error.strerror}") from None
