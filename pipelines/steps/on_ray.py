"""A training on several workers of a Ray that is connected: Ray Train starts them, and again where one is lost."""

import tempfile
import threading
from typing import Any

from operators.base.errors import UserError, clean_message
from pipelines.steps.checkpoint import CheckpointPlace, TrainingState, read_checkpoint, write_checkpoint
from pipelines.steps.here import MakeTask
from pipelines.steps.loop import NotFiniteError, StepEars, StepPilot, run_steps
from pipelines.steps.recipe import StepRecipe
from pipelines.steps.workers import TrainingDevice, TrainingPrecision, Workers, device_for, uses_bf16

RESTARTS = 3
"""How often lost workers are started again, from the last checkpoint."""
_POLL_S = 0.5


def train_on_ray(
    make: MakeTask,
    recipe: StepRecipe,
    place: CheckpointPlace,
    ears: StepEars,
    *,
    workers: int,
    device: TrainingDevice = "auto",
    precision: TrainingPrecision = "float32",
    sharded: bool = False,
) -> TrainingState:
    """The state at the end, as the first worker has written it to `place`, which all workers must reach.

    Gloo on CPUs, NCCL on GPUs; `auto` takes GPUs where Ray has as many as there are workers. A worker that is lost
    costs the steps since the last checkpoint. Raises `UserError` where a loss is not finite or Ray has too few CPUs or
    GPUs, `OSError` where workers are lost more than `RESTARTS` times, or storage fails.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    use_gpu = _places(workers, device)
    box = ray.remote(num_cpus=0)(StepMailbox).remote()
    given = {
        "make": make,
        "recipe": recipe,
        "place": place,
        "device": "cuda" if use_gpu else "cpu",
        "precision": precision,
        "sharded": sharded,
        "box": box,
    }
    over = threading.Event()
    listener = threading.Thread(target=_listen, args=(box, ears, over), name="training", daemon=True)
    with tempfile.TemporaryDirectory(prefix="pixlake-train-") as folder:
        trainer = TorchTrainer(
            _work,
            train_loop_config=given,
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu),
            run_config=RunConfig(storage_path=folder, failure_config=FailureConfig(max_failures=RESTARTS)),
            torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        )
        listener.start()
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            refused = ray.get(box.refused.remote())
            if refused is None:
                raise OSError(
                    f"the workers were lost or failed {RESTARTS + 1} times: {clean_message(str(error))}; the last "
                    "checkpoint is kept: run the same command again to go on from it"
                ) from error
        finally:
            over.set()
            listener.join()
    refused = ray.get(box.refused.remote())
    if refused is not None:
        raise UserError(refused)
    state = read_checkpoint(place)
    if state is None:
        raise OSError(f"{place.uri}: the workers' checkpoint is not there: name a place that all of them reach")
    return state


def _places(workers: int, device: TrainingDevice) -> bool:
    """Whether the workers are to be on GPUs. Raises `UserError` where Ray has too few CPUs or GPUs for them."""
    import ray

    there = ray.cluster_resources()
    cpus, gpus = int(there.get("CPU", 0)), int(there.get("GPU", 0))
    use_gpu = device == "cuda" or (device == "auto" and gpus >= workers)
    if use_gpu and gpus < workers:
        raise UserError(f"{workers} workers on GPUs, and Ray has {gpus} GPUs: lower --workers")
    if cpus < workers:
        raise UserError(f"{workers} workers, and Ray has {cpus} CPUs: lower --workers, or name a larger cluster")
    return use_gpu


class StepMailbox:
    """What the workers say, until the driver hears it."""

    def __init__(self) -> None:
        self._said: list[tuple[str, Any]] = []
        self._refused: str | None = None

    def say(self, kind: str, what: Any) -> None:
        """`start` with a `StepPilot`, `look` with an entry."""
        self._said.append((kind, what))

    def taken(self) -> list[tuple[str, Any]]:
        """What was said since the last call."""
        said, self._said = self._said, []
        return said

    def refuse(self, why: str) -> None:
        """What a user must mend: no worker is to begin again."""
        self._refused = self._refused or why

    def refused(self) -> str | None:
        return self._refused


def _listen(box: Any, ears: StepEars, over: threading.Event) -> None:
    import ray

    while True:
        last = over.wait(_POLL_S)
        for kind, what in ray.get(box.taken.remote()):
            if kind == "start":
                ears.on_start(what)
            else:
                ears.on_look(what)
        if last:
            return


def _work(given: dict[str, Any]) -> None:
    """One worker of Ray Train's."""
    import ray
    from ray.train import get_context

    box = given["box"]
    if ray.get(box.refused.remote()) is not None:
        return
    rank, size = get_context().get_world_rank(), get_context().get_world_size()
    place: CheckpointPlace = given["place"]

    def say(kind: str, what: StepPilot | dict[str, float]) -> None:
        ray.get(box.say.remote(kind, what))

    ears = StepEars(on_start=lambda pilot: say("start", pilot), on_look=lambda entry: say("look", entry))
    try:
        on = device_for(given["device"])
        workers = Workers(rank=rank, size=size, device=on, bf16=uses_bf16(given["precision"], on))
        state = read_checkpoint(place)
        run_steps(
            given["make"](workers),
            given["recipe"],
            workers,
            state,
            lambda now: write_checkpoint(now, place),
            ears,
            sharded=given["sharded"],
        )
    except NotFiniteError as error:
        # All workers are here: an end like any other spares the start of new ones.
        ray.get(box.refuse.remote(str(error)))
    except UserError as error:
        # The others may wait for this one: only its death ends them.
        ray.get(box.refuse.remote(str(error)))
        raise
