"""A student's step: the same for the same step, on whole batches, with batch norm by micro-batch."""

from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from operators.base.errors import UserError
from pipelines.distillation.losses import Lesson, student_loss
from pipelines.distillation.task import StudentRows, StudentSteps, StudentTask
from pipelines.steps.checkpoint import CheckpointPlace, TrainingState
from pipelines.steps.here import train_here
from pipelines.steps.loop import StepEars
from pipelines.steps.recipe import StepRecipe
from pipelines.steps.workers import Workers

IMAGES, SIDE, DIM = 96, 8, 5
ALONE = Workers(rank=0, size=1, device=torch.device("cpu"))


class Squares:
    """Images of noise about one colour, from which the teacher's vector is a random map."""

    def __init__(self) -> None:
        self.colours = np.random.default_rng(0).normal(size=(IMAGES, 3)).astype(np.float32)

    def changed(self, positions_N: np.ndarray, step: int) -> torch.Tensor:
        made = [
            self.colours[number][:, None, None]
            + 0.3 * np.random.default_rng([number, step]).normal(size=(3, SIDE, SIDE)).astype(np.float32)
            for number in positions_N.tolist()
        ]
        return torch.from_numpy(np.stack(made).astype(np.float32))

    def plain(self, positions_N: np.ndarray) -> torch.Tensor:
        flat = self.colours[positions_N][:, :, None, None]
        return torch.from_numpy(np.broadcast_to(flat, (len(positions_N), 3, SIDE, SIDE)).copy())


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(16, DIM),
    )


@cache
def targets() -> np.ndarray:
    made = np.tanh(Squares().colours @ np.random.default_rng(1).normal(size=(3, DIM)))
    unit: np.ndarray = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16)
    return unit


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> StudentRows:
    path = tmp_path_factory.mktemp("targets") / "teacher.npy"
    # In an order of their own.
    order = np.random.default_rng(2).permutation(IMAGES)
    np.save(path, targets()[order])
    ids = pa.array([f"i{number}" for number in range(IMAGES)])
    return StudentRows(
        targets=str(path), at=np.argsort(order), train=np.arange(64), held=np.arange(64, IMAGES), ids=ids
    )


def task(rows: StudentRows, workers: Workers = ALONE, **given: int) -> StudentTask:
    lesson = Lesson(dims=(DIM,), cosine=1.0, relational=1.0, hard=0.0)
    steps = {"batch": 32, "crops": 1, "micro_batch": 16, "seed": 3, **given}
    return StudentTask(network, Squares(), rows, StudentSteps(lesson=lesson, **steps), workers)


def train(rows: StudentRows, place: Path, steps: int, ears: StepEars | None = None) -> TrainingState:
    recipe = StepRecipe(
        steps=steps, learning_rate=0.05, weight_decay=0.01, seed=3, schedule="cosine", warmup=2, look_every=4
    )
    return train_here(lambda workers: task(rows, workers), recipe, CheckpointPlace(str(place)), ears or StepEars())


def test_a_step_is_of_its_number_alone_and_of_the_whole_batch(rows: StudentRows) -> None:
    one, other = task(rows), task(rows)
    other.loss(7)
    fresh = task(rows)
    assert float(one.loss(3).detach()) == float(fresh.loss(3).detach())
    assert one.ids(3) == other.ids(3)
    assert len({*one.ids(3)}) == 32
    # The loss of the vectors of two micro-batches, each normed by itself.
    numbers = [int(each[1:]) for each in one.ids(3)]
    images = Squares().changed(np.array(numbers), 3)
    again = network().train()
    outs = torch.cat([again(images[:16]), again(images[16:])])
    wanted = torch.from_numpy(targets()[numbers].astype(np.float32))
    expected = student_loss(outs, wanted, Lesson(dims=(DIM,), cosine=1.0, relational=1.0, hard=0.0))
    assert float(fresh.loss(3).detach()) == pytest.approx(float(expected.detach()), abs=1e-5)


def test_crops_are_looks_of_the_same_images_each_in_its_place(rows: StudentRows) -> None:
    twice = task(rows, batch=16, crops=2)
    numbers = [int(each[1:]) for each in twice.ids(5)]
    # The tenth and eleventh look of each image, beside each other; a micro-batch has both of half the images.
    looks = [Squares().changed(np.array(numbers), look) for look in (10, 11)]
    images = torch.stack(looks, dim=1).flatten(0, 1)
    again = network().train()
    outs = torch.cat([again(images[:16]), again(images[16:])])
    wanted = torch.from_numpy(targets()[np.repeat(numbers, 2)].astype(np.float32))
    expected = student_loss(outs, wanted, Lesson(dims=(DIM,), cosine=1.0, relational=1.0, hard=0.0))
    assert float(twice.loss(5).detach()) == pytest.approx(float(expected.detach()), abs=1e-5)


def test_training_brings_it_near_to_the_teacher_and_goes_on_bit_for_bit(rows: StudentRows, tmp_path: Path) -> None:
    whole = train(rows, tmp_path / "whole.safetensors", 16)
    first, best = whole.history[0], min(whole.history, key=lambda each: each["held_out_loss"])
    assert best["held_out_cosine"] > first["held_out_cosine"] + 0.15

    class Stop(Exception):
        pass

    def stop(entry: dict[str, float]) -> None:
        if entry["step"] == 8:
            raise Stop

    with pytest.raises(Stop):
        train(rows, tmp_path / "cut.safetensors", 16, StepEars(on_look=stop))
    resumed = train(rows, tmp_path / "cut.safetensors", 16)
    assert resumed.history == whole.history
    for name, each in whole.best.items():
        assert torch.equal(each, resumed.best[name]), name


def test_more_workers_than_micro_batches_are_refused(rows: StudentRows) -> None:
    with pytest.raises(UserError, match="3 workers share the 2 micro-batches"):
        task(rows, Workers(rank=0, size=3, device=torch.device("cpu")))
