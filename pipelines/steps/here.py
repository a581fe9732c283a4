"""A training in this process, on one worker."""

from collections.abc import Callable

from pipelines.steps.checkpoint import CheckpointPlace, TrainingState, read_checkpoint, write_checkpoint
from pipelines.steps.loop import StepEars, run_steps
from pipelines.steps.recipe import StepRecipe
from pipelines.steps.task import StepTask
from pipelines.steps.workers import TrainingDevice, TrainingPrecision, Workers, device_for, uses_bf16

MakeTask = Callable[[Workers], StepTask]


def train_here(
    make: MakeTask,
    recipe: StepRecipe,
    place: CheckpointPlace,
    ears: StepEars,
    *,
    device: TrainingDevice = "auto",
    precision: TrainingPrecision = "float32",
) -> TrainingState:
    """The state at the end; from the checkpoint at `place`, if there is one. Raises `UserError` where a loss is not
    finite, `OSError` where storage fails."""
    on = device_for(device)
    workers = Workers(rank=0, size=1, device=on, bf16=uses_bf16(precision, on))
    state = read_checkpoint(place)
    return run_steps(make(workers), recipe, workers, state, lambda now: write_checkpoint(now, place), ears)
