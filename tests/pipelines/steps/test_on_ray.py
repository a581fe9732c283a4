"""Workers of Ray Train: what they come to, that one may be killed, and how they end."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from made.small_training import SmallTraining, small_recipe
from operators.base.errors import UserError
from pipelines.steps.checkpoint import CheckpointPlace, TrainingState
from pipelines.steps.here import train_here
from pipelines.steps.loop import StepEars, StepPilot
from pipelines.steps.on_ray import train_on_ray

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TOLERANCE = 1e-5


@pytest.fixture(scope="module", autouse=True)
def connected() -> Iterator[None]:
    import ray

    # Ray's processes do not have the tests on their path.
    ray.cloudpickle.register_pickle_by_value(sys.modules["made.small_training"])
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    yield
    ray.shutdown()


def train(place: Path, made: SmallTraining, begun: list[StepPilot], looks: list[float]) -> TrainingState:
    ears = StepEars(begun.append, lambda entry: looks.append(entry["step"]))
    return train_on_ray(made, small_recipe(), CheckpointPlace(str(place)), ears, workers=2, device="cpu")


@pytest.mark.kill
def test_a_killed_worker_costs_the_steps_since_the_last_checkpoint(tmp_path: Path) -> None:
    """And what comes out is what one worker comes to."""
    begun: list[StepPilot] = []
    looks: list[float] = []
    made = SmallTraining(killed_at=15, mark=str(tmp_path / "killed"))
    two = train(tmp_path / "two.safetensors", made, begun, looks)
    assert (tmp_path / "killed").exists()
    assert ([each.step for each in begun], looks) == ([0, 10], [10, 20, 30])
    place = CheckpointPlace(str(tmp_path / "one.safetensors"))
    one = train_here(SmallTraining(), small_recipe(), place, StepEars(), device="cpu")
    for name, each in one.tensors.items():
        assert (two.tensors[name].double() - each.double()).abs().max() < TOLERANCE, name


def test_no_number_ends_all_and_nobody_begins_again(tmp_path: Path) -> None:
    begun: list[Any] = []
    with pytest.raises(UserError, match=r"^step 12: the loss is nan, .* The batch: row-\d+"):
        train(tmp_path / "two.safetensors", SmallTraining(broken_at=12), begun, [])
    assert len(begun) == 1


def test_more_workers_than_there_are_cpus_are_refused(tmp_path: Path) -> None:
    place = CheckpointPlace(str(tmp_path / "two.safetensors"))
    with pytest.raises(UserError, match=r"500 workers, and Ray has \d+ CPUs: lower --workers"):
        train_on_ray(SmallTraining(), small_recipe(), place, StepEars(), workers=500, device="cpu")
